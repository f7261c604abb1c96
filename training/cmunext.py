"""CMUNeXt (Tang et al., ISBI 2024): a U-shaped network of depthwise convolutions with large kernels."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.pixels import PixelConfig, PixelNetwork


class Shape(NamedTuple):
    """Maps, blocks and kernel of each of the five levels."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]


SMALL = Shape((8, 16, 32, 64, 128), (1, 1, 1, 1, 1), (3, 3, 7, 7, 9))
LARGE = Shape((32, 64, 128, 256, 512), (1, 1, 1, 6, 3), (3, 3, 7, 7, 7))


def base(width: int = 16) -> Shape:
    """The published shape, or one of other width."""
    return Shape((width, 2 * width, 8 * width, 10 * width, 16 * width), (1, 1, 1, 3, 1), (3, 3, 7, 7, 7))


class CMUNeXtConfig(PixelConfig, frozen=True, tag="cmunext"):
    """Settings of `CMUNeXt`; the default is the published network.

    Attributes:
        width: maps of the first level; the others have 2, 8, 10 and 16 times as many.
    """

    width: int = 16

    def network(self, outputs: int, image_size_px: int) -> CMUNeXt:  # noqa: ARG002 - any size
        return CMUNeXt(outputs, base(self.width))


class CMUNeXt(PixelNetwork):
    """3,149,185 parameters for one output as published. Activations come before batch norm."""

    def __init__(self, outputs: int, shape: Shape | None = None) -> None:
        super().__init__()
        widths, depths, kernels = shape or base()
        self.channels = widths[0]
        self.stem = _widened(3, widths[0])
        sizes = pairwise([widths[0], *widths])
        self.down = nn.ModuleList(
            nn.Sequential(*(_Block(inputs, kernel) for _ in range(depth)), _widened(inputs, outputs_))
            for (inputs, outputs_), depth, kernel in zip(sizes, depths, kernels, strict=True)
        )
        self.up = nn.ModuleList(_widened(deep, shallow) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(_fusion(shallow) for shallow in widths[:-1])
        self.head = nn.Conv2d(widths[0], outputs, 1)

    def features(self, image: Tensor) -> Tensor:
        skips = [self.down[0](self.stem(image))]
        for block in self.down[1:]:
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            x = up(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
            x = merge(torch.cat([skip, x], dim=1))
        return x


class _Block(nn.Module):
    """A residual depthwise convolution, and two of 1x1 that widen four times and narrow again."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.wide = _activated(nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width))
        self.points = _inverted(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.points(x + self.wide(x))


def _fusion(width: int) -> nn.Sequential:
    """Skip and upper level, (B, 2 width, h, w), each convolved on its own, then mixed: (B, width, h, w)."""
    apart = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2)
    return nn.Sequential(_activated(apart), _inverted(2 * width, width))


def _inverted(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        _activated(nn.Conv2d(inputs, 4 * outputs, 1)), _activated(nn.Conv2d(4 * outputs, outputs, 1))
    )  # fmt: skip


def _activated(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.GELU(), nn.BatchNorm2d(conv.out_channels))


def _widened(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
