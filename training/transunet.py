"""TransUNet (Chen et al., arXiv 2102.04306, 2021), R50-ViT-B/16: a ResNet, a transformer, and a decoder with skips.

All sizes are multiples of one width, 64 as published: tokens of 12 times as many numbers, one head for each 64.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.deepstega import enlarged
from hidemia.training.pixels import PixelConfig, PixelNetwork

LAYERS, HEADS = 12, 12
DROPPED = 0.1
PATCH = 16


class TransUNetConfig(PixelConfig, frozen=True, tag="transunet"):
    """Settings of `TransUNet`; the default is the published network.

    Attributes:
        width: maps of the stem, a multiple of 4.
    """

    width: int = 64

    def network(self, outputs: int, image_size_px: int) -> TransUNet:
        return TransUNet(outputs, image_size_px, self.width)


class StandardConv(nn.Conv2d):
    """A convolution without bias whose kernels have mean 0 and variance 1 when they are used."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, bias=False)

    def standardised(self) -> Tensor:
        """The kernels that are used."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) / torch.sqrt(variance + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.standardised(), None)


class Bottleneck(nn.Module):
    """A block of the ResNet: 1x1, 3x3 and 1x1 with group norms, added to the input or to its projection."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 4
        self.first = nn.Sequential(StandardConv(inputs, middle, 1), _groups(middle), nn.ReLU())
        self.second = nn.Sequential(StandardConv(middle, middle, 3, stride, 1), _groups(middle), nn.ReLU())
        self.third = nn.Sequential(StandardConv(middle, outputs, 1), _groups(outputs))
        self.project = None
        if inputs != outputs:
            norm = nn.GroupNorm(outputs, outputs)
            self.project = nn.Sequential(StandardConv(inputs, outputs, 1, stride), norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.third(self.second(self.first(x)))
        return F.relu(y + (x if self.project is None else self.project(x)))


class Attention(nn.Module):
    """Multi-head self-attention over tokens: (B, N, C) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(size, size) for _ in range(3))
        self.out = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        tokens, size = int(x.shape[1]), int(x.shape[2])  # int: a constant when traced for export
        shape = (-1, tokens, HEADS, size // HEADS)
        q, k, v = (layer(x).reshape(shape).transpose(1, 2) for layer in (self.query, self.key, self.value))
        weights = (q @ k.transpose(2, 3) / math.sqrt(size // HEADS)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(-1, tokens, size))


class Layer(nn.Module):
    """A layer of the transformer, norms first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(size, eps=1e-6), Attention(size)
        wide, narrow = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        for linear in (wide, narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)
        self.norm2 = nn.LayerNorm(size, eps=1e-6)
        self.mlp = nn.Sequential(wide, nn.GELU(), nn.Dropout(DROPPED), narrow, nn.Dropout(DROPPED))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransUNet(PixelNetwork):
    """105,276,211 parameters for three outputs and 224 pixels as published.

    Positions are learned for one image size; at others they are interpolated.
    """

    def __init__(self, outputs: int, image_size_px: int = 224, width: int = 64) -> None:
        super().__init__()
        if width % 4:
            raise ValueError(f"width: expected a multiple of 4, got {width}")
        self.channels = width // 4
        stages, size = (4 * width, 8 * width, 16 * width), 12 * width
        self.stem = nn.Sequential(StandardConv(3, width, 7, 2, 3), _groups(width), nn.ReLU())
        self.stages = nn.ModuleList(
            nn.Sequential(
                Bottleneck(inputs, stage, stride), *(Bottleneck(stage, stage, 1) for _ in range(depth - 1))
            )
            for inputs, stage, stride, depth in zip((width, *stages), stages, (1, 2, 2), (3, 4, 9), strict=False)
        )  # fmt: skip
        self.patches = nn.Conv2d(stages[-1], size, 1)
        side = image_size_px // PATCH
        self.positions = nn.Parameter(torch.zeros(1, size, side, side))
        self.drop = nn.Dropout(DROPPED)
        self.layers = nn.Sequential(*(Layer(size) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.enter = _unit(size, 8 * width)
        self.merge = nn.ModuleList(
            nn.Sequential(_unit(inputs, narrow), _unit(narrow, narrow))
            for inputs, narrow in (
                (16 * width, 4 * width), (8 * width, 2 * width), (3 * width, width), (width, width // 4)
            )
        )  # fmt: skip
        self.head = nn.Conv2d(width // 4, outputs, 3, padding=1)

    def features(self, image: Tensor) -> Tensor:
        half = self.stem(image)
        quarter = self.stages[0](F.max_pool2d(half, 3, stride=2))  # one pixel short in each direction
        eighth = self.stages[1](quarter)
        x = self.enter(self._transformed(self.patches(self.stages[2](eighth))))
        for merge, skip in zip(self.merge, (eighth, enlarged(quarter), half, None), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = merge(x if skip is None else torch.cat([x, skip], dim=1))
        return x

    def _transformed(self, maps: Tensor) -> Tensor:
        """The transformer over all positions of (B, C, h, w)."""
        channels, height, width = (int(side) for side in maps.shape[1:])
        positions = self.positions
        if positions.shape[2:] != (height, width):
            positions = F.interpolate(positions, size=(height, width), mode="bicubic", align_corners=False)
        tokens = self.drop((maps + positions).reshape(-1, channels, height * width).transpose(1, 2))
        tokens = self.norm(self.layers(tokens))
        return tokens.transpose(1, 2).reshape(-1, channels, height, width)


def _groups(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=1e-6)


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )  # fmt: skip
