"""XNet (Zhou et al., ICCV 2023): two U-shaped branches, for low and high frequencies, that meet at the deepest levels.

The published networks read files that were made of grey images beforehand: a low and a high frequency image of half
the size, each stretched to its full range. The paper's pairing needs one network from photo to photo, so here both
are made of the photo inside, by the Haar transform; the low one keeps its colours. The heads of the two branches are
averaged, where the published network takes the branch that validates better. Both are choices of this project.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.pixels import PixelConfig, PixelNetwork
from hidemia.training.wavelet import HIGH_BANDS, dwt, split

LEVELS = 5


class XNetConfig(PixelConfig, frozen=True, tag="xnet"):
    """Settings of `XNet`; the default is the published network.

    Attributes:
        width: maps of the first level, doubled at each further one.
    """

    width: int = 64

    def network(self, outputs: int, image_size_px: int) -> XNet:  # noqa: ARG002 - any size
        return XNet(outputs, self.width)


class Residual(nn.Module):
    """Two 3x3 convolutions, added to the input or to its projection."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.project = None
        if inputs != outputs:
            self.project = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convs(x) + (x if self.project is None else self.project(x)))


class Offer(NamedTuple):
    """What a branch offers at its two deepest levels, to itself and to the other."""

    same4: Tensor
    down4: Tensor
    same5: Tensor
    up5: Tensor


class Branch(nn.Module):
    """One of the two networks; `XNet` leads features from one to the other."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        *_, fourth, fifth = widths
        start = nn.Sequential(
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            Residual(width, width),
        )
        steps = (
            nn.Sequential(_unit(shallow, deep, stride=2), _twice(deep, deep)) for shallow, deep in pairwise(widths)
        )
        self.down = nn.ModuleList([start, *steps])
        self.deeper = _twice(fourth, fourth)
        self.same4, self.same5 = _unit(fourth, fourth), _unit(fifth, fifth)
        self.down4, self.up5 = _unit(fourth, fourth, stride=2), _Up(fifth, fifth)
        self.fuse4 = nn.Sequential(_point(2 * fourth + fifth, fourth), _twice(fourth, fourth))
        self.fuse5 = nn.Sequential(_point(2 * fifth + fourth, fifth), _twice(fifth, fifth))
        self.up = nn.ModuleList(_Up(deep, shallow) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(_twice(2 * shallow, shallow) for shallow in widths[:-1])

    def encode(self, image: Tensor) -> tuple[list[Tensor], Offer]:
        """Features of the first three levels, and of the two deepest what both branches read."""
        levels = [image]
        for block in self.down:
            levels.append(block(levels[-1]))
        _, *skips, fourth, fifth = levels
        fourth = self.deeper(fourth)  # the fifth has branched off before it
        return skips, Offer(self.same4(fourth), self.down4(fourth), self.same5(fifth), self.up5(fifth))

    def decode(self, skips: list[Tensor], own: Offer, other: Offer) -> Tensor:
        """The first levels, and what both branches offer -> (B, width, H, W)."""
        x = self.fuse5(torch.cat([own.same5, other.same5, other.down4], dim=1))
        skips = [*skips, self.fuse4(torch.cat([own.same4, other.same4, other.up5], dim=1))]
        for up, merge, skip in zip(reversed(self.up), reversed(self.merge), reversed(skips), strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return x


class XNet(PixelNetwork):
    """326,177,668 parameters for two outputs as published."""

    def __init__(self, outputs: int, width: int = 64) -> None:
        super().__init__()
        self.channels = 2 * width
        self.low, self.high = Branch(3, width), Branch(1, width)
        self.head = AveragedHeads(width, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, image: Tensor) -> Tensor:
        low, high = frequencies(image)
        lows, from_low = self.low.encode(low)
        highs, from_high = self.high.encode(high)
        decoded = self.low.decode(lows, from_low, from_high), self.high.decode(highs, from_high, from_low)
        return torch.cat(decoded, dim=1)


class AveragedHeads(nn.Module):
    """The heads of the two branches, whose features lie behind each other."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.low, self.high = nn.Conv2d(width, outputs, 1), nn.Conv2d(width, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        low, high = features.split(self.low.in_channels, dim=1)
        return (self.low(low) + self.high(high)) / 2


def frequencies(image: Tensor) -> tuple[Tensor, Tensor]:
    """What the branches read: (B, 3, H, W) in [0, 1] -> (B, 3, H, W) and (B, 1, H, W), both in [0, 1].

    The second is the sum of the grey high bands, each stretched to [0, 1] and the sum again, as published.
    """
    bands = split(dwt(image))
    high = stretched(sum(stretched(bands[name].mean(dim=1, keepdim=True)) for name in HIGH_BANDS))
    low, high = (
        F.interpolate(part, scale_factor=2, mode="bilinear", align_corners=False) for part in (bands["ll"] / 2, high)
    )
    return low, high


def stretched(image: Tensor) -> Tensor:
    """Each image between its own least and greatest value, to [0, 1]; an even one is 0."""
    least, greatest = image.amin(dim=(1, 2, 3), keepdim=True), image.amax(dim=(1, 2, 3), keepdim=True)
    return (image - least) / (greatest - least + 1e-6)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.unit = _unit(inputs, outputs, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Residual(inputs, outputs), Residual(outputs, outputs))


def _unit(inputs: int, outputs: int, *, stride: int = 1, bias: bool = False) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _point(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())
