"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015), padded, with batch norm."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.pixels import PixelConfig, PixelNetwork

LEVELS = 5


class UNetConfig(PixelConfig, frozen=True, tag="unet"):
    """Settings of `UNet`; the default is the published network.

    Attributes:
        width: maps of the first level, doubled at each further one.
    """

    width: int = 64

    def network(self, outputs: int, image_size_px: int) -> UNet:  # noqa: ARG002 - any size
        return UNet(outputs, self.width)


class UNet(PixelNetwork):
    """31,037,633 parameters for one output as published."""

    def __init__(self, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.channels = width
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(_double(inputs, deeper) for inputs, deeper in pairwise([3, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(_double(deep, shallow) for shallow, deep in pairwise(widths))
        self.head = nn.Conv2d(width, outputs, 1)

    def features(self, image: Tensor) -> Tensor:
        skips = [self.down[0](image)]
        for block in self.down[1:]:
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return x


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip
