"""The hider in the forms it is deployed in: the same weights and the same result, rewritten for inference engines.

What both forms share. ``rho`` and ``eta`` of a block read the same bands, so they are stacked into one network with
groups. Nothing is concatenated: ``conv([x, f1, f2]) = conv(x) + conv(f1) + conv(f2)``, and engines add into the
output of a convolution as they write it. Bands have 16 channels instead of 12, the last four zero, which fills the
vectors of AVX-512. Haar is one convolution and one transposed convolution. Nothing is divided.

``direct``  3x3 convolutions. It serves every engine, and lower precisions start from it.
``tiled``   F(4, 3) along rows (Winograd, 1980): four neighbouring outputs of a row come from six products instead of
            twelve, so each 3x3 convolution becomes six of 3x1, half the multiplications::

                y = A [(G w) * (B d)]      d: 6 inputs of a row, w: 3 taps, y: 4 outputs

            Rows are kept apart as four planes, pixel 4t + p in plane p, from the first Haar to the last; the six
            points of the transform are groups of one convolution. It pays in ONNX Runtime; in OpenVINO hardly for hide
            and not for recover (docs/hider.md). Only in float32: its inputs span a wider range than pixels do.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.invertible import BAND_CHANNELS, DenseSubnet, InvertibleHider, log_scale
from hidemia.training.wavelet import haar_kernel

HiderForm: TypeAlias = Literal["direct", "tiled"]

CHANNELS = 16  # of the bands: 12, and zeros to the width of a vector
PLANES, POINTS = 4, 6  # outputs and products of F(4, 3)
TILED_SIDE = 2 * PLANES  # what the side of an image must be a multiple of

# The interpolation points are 0, 1, -1, 2, -2 and infinity.
INPUT = torch.tensor(
    [
        [4.0, 0.0, -5.0, 0.0, 1.0, 0.0],
        [0.0, -4.0, -4.0, 1.0, 1.0, 0.0],
        [0.0, 4.0, -4.0, -1.0, 1.0, 0.0],
        [0.0, -2.0, -1.0, 2.0, 1.0, 0.0],
        [0.0, 2.0, -1.0, -2.0, 1.0, 0.0],
        [0.0, 4.0, 0.0, -5.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)  # B: points x pixels
KERNEL = torch.tensor(
    [[6.0, 0.0, 0.0], [-4.0, -4.0, -4.0], [-4.0, 4.0, -4.0], [1.0, 2.0, 4.0], [1.0, -2.0, 4.0], [0.0, 0.0, 24.0]],
    dtype=torch.float64,
).div(24)  # G: points x taps
OUTPUT = torch.tensor(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, 1.0, -1.0, 2.0, -2.0, 0.0],
        [0.0, 1.0, 1.0, 4.0, 4.0, 0.0],
        [0.0, 1.0, -1.0, 8.0, -8.0, 1.0],
    ],
    dtype=torch.float64,
)  # A: planes x points


class Tiling(nn.Module):
    """The transforms of F(4, 3): planes (B, 4, C, h, w) <-> points (B, 6 C, h, w).

    Both are matrix products over the planes. Written so, engines run them in the layout the planes have; as 2-d
    convolutions, ONNX Runtime would pad 4 and 6 channels to 16 and spend a third of the time on zeros.
    """

    def __init__(self, height: int, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.height, self.width = height, width
        taps = torch.zeros(POINTS, PLANES, 3, dtype=torch.float64)  # pixels -1 to 4: the tile and one on each side
        taps[:, :, 1] = INPUT[:, 1:5]
        taps[:, PLANES - 1, 0], taps[:, 0, 2] = INPUT[:, 0], INPUT[:, 5]
        self.taps = nn.Parameter(taps.to(dtype)[:, :, None, None])
        self.output = nn.Parameter(OUTPUT.to(dtype))

    def enter(self, planes: Tensor) -> Tensor:
        """B d."""
        channels = int(planes.shape[2])  # int: a constant when traced for export
        return F.conv3d(planes, self.taps, padding=(0, 0, 1)).reshape(-1, POINTS * channels, self.height, self.width)

    def leave(self, points: Tensor) -> Tensor:
        """A m."""
        channels = int(points.shape[1]) // POINTS
        planes = self.output @ points.reshape(-1, POINTS, channels * self.height * self.width)
        return planes.reshape(-1, PLANES, channels, self.height, self.width)


class DenseConv(nn.Module):
    """One convolution of stacked dense subnets, on the list of all features so far, each with its own kernel.

    Args:
        convs: this convolution of every stacked subnet.
        growth: channels of each feature after the first.
        form: ``direct`` or ``tiled``.
    """

    def __init__(self, convs: list[nn.Conv2d], growth: int, form: HiderForm) -> None:
        super().__init__()
        self.count = len(convs)
        inputs = convs[0].weight.shape[1]
        sizes = [BAND_CHANNELS, *[growth] * ((inputs - BAND_CHANNELS) // growth)]
        stacked = torch.cat([filled(conv.weight.detach(), dim=0) for conv in convs])
        self.kernels = nn.ParameterList(filled(part, dim=1) for part in torch.split(stacked, sizes, dim=1))
        bias = torch.cat([filled(_bias(conv), dim=0) for conv in convs])
        self.tiled = form == "tiled"
        if self.tiled:  # the second point reaches all four pixels of a tile with factor 1
            bias = torch.stack([bias if point == 1 else torch.zeros_like(bias) for point in range(POINTS)]).flatten()
            self.transform = nn.Parameter(KERNEL.T.to(bias.dtype).contiguous())
        self.bias = nn.Parameter(bias)

    def forward(self, features: list[Tensor]) -> Tensor:
        """The sum of the convolutions of all features."""
        total: Tensor | None = None
        for x, kernel in zip(features, self.kernels, strict=True):
            groups = 1 if total is None else self.count  # all read the bands, then each its own features
            bias = self.bias if total is None else None
            if self.tiled:
                rows = (kernel @ self.transform).permute(3, 0, 1, 2).reshape(-1, int(kernel.shape[1]), 3, 1)
                term = F.conv2d(x, rows, bias, padding=(1, 0), groups=POINTS * groups)
            else:
                term = F.conv2d(x, kernel, bias, padding=1, groups=groups)
            total = term if total is None else total + term
        assert total is not None  # noqa: S101 - for the type checker
        return total


class DenseSubnets(nn.Module):
    """Dense subnets that read the same bands, as one: bands -> a tuple of bands, one for each."""

    def __init__(self, subnets: list[DenseSubnet], form: HiderForm, tiling: Tiling | None) -> None:
        super().__init__()
        self.slope, self.tiling = subnets[0].slope, tiling
        growth = _conv(subnets[0], 1).out_channels
        for i in range(1, 6):
            self.add_module(f"conv{i}", DenseConv([_conv(subnet, i) for subnet in subnets], growth, form))

    def forward(self, bands: Tensor) -> tuple[Tensor, ...]:
        """(B, 16, h, w) or planes of it (B, 4, 16, h, w / 4)."""
        enter = self.tiling.enter if self.tiling else _same
        leave = self.tiling.leave if self.tiling else _same
        features = [enter(bands)]
        *inner, last = self.children_in_order()
        for conv in inner:
            features.append(enter(F.leaky_relu(leave(conv(features)), self.slope)))
        return torch.split(leave(last(features)), CHANNELS, dim=-3)

    def children_in_order(self) -> list[nn.Module]:
        """conv1 to conv5."""
        return [self.get_submodule(f"conv{i}") for i in range(1, 6)]


class DeployedHider(nn.Module):
    """One direction of a trained hider: `hide` or `recover`, with the subnets that it needs and no others.

    Args:
        hider: the trained weights, which are left alone.
        direction: ``hide`` or ``recover``.
        form: ``direct`` or ``tiled``; the second needs a side divisible by 8.
        image_size_px: side of the images.
    """

    def __init__(
        self, hider: InvertibleHider, direction: Literal["hide", "recover"], form: HiderForm, image_size_px: int
    ) -> None:
        super().__init__()
        blocks = hider.blocks()
        dtype, side = next(hider.parameters()).dtype, image_size_px // 2
        tiling = Tiling(side, side // PLANES, dtype) if form == "tiled" else None
        self.shape = (-1, PLANES, CHANNELS, side, side // PLANES) if tiling else (-1, CHANNELS, side, side)
        self.flat = (-1, PLANES * CHANNELS, side, side // PLANES) if tiling else self.shape
        self.stride = (2, 2 * PLANES) if tiling else (2, 2)
        self.haar = nn.Parameter(haar_planes(PLANES if tiling else 1).to(dtype))
        # By number of the block. The last rho and eta would make what hiding throws away, the first phi what
        # recovery does.
        self.f, self.ry = nn.ModuleDict(), nn.ModuleDict()
        for i, block in enumerate(blocks):
            if direction == "hide" or i > 0:
                self.f[str(i)] = DenseSubnets([block.f], form, tiling)
            if direction == "recover" or i < len(blocks) - 1:
                self.ry[str(i)] = DenseSubnets([block.r, block.y], form, tiling)

    def dwt(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> bands, padded, in planes where tiled."""
        return F.conv2d(image, self.haar, stride=self.stride).reshape(self.shape)

    def iwt(self, bands: Tensor) -> Tensor:
        """Its inverse."""
        return F.conv_transpose2d(bands.reshape(self.flat), self.haar, stride=self.stride)

    def hide(self, secret: Tensor, cover: Tensor) -> Tensor:
        """As `InvertibleHider.hide`."""
        cover_bands, secret_bands = self.dwt(cover), self.dwt(secret)
        for i, phi in self.f.items():
            cover_bands = cover_bands + phi(secret_bands)[0]
            if i in self.ry:
                scale, shift = self.ry[i](cover_bands)
                secret_bands = secret_bands * torch.exp(log_scale(scale)) + shift
        return self.iwt(cover_bands)

    def recover(self, photo: Tensor) -> Tensor:
        """As `InvertibleHider.recover`; multiplied by exp(-...), never divided."""
        cover = self.dwt(photo)
        secret: Tensor | float = 0.0
        for i, rho_eta in reversed(list(self.ry.items())):
            scale, shift = rho_eta(cover)
            secret = (secret - shift) * torch.exp(-log_scale(scale))
            if i in self.f:
                cover = cover - self.f[i](secret)[0]
        assert isinstance(secret, Tensor)  # noqa: S101 - for the type checker
        return self.iwt(secret)


def filled(tensor: Tensor, dim: int) -> Tensor:
    """Zeros behind a tensor until a dimension is a multiple of 16."""
    shape = list(tensor.shape)
    shape[dim] = -shape[dim] % CHANNELS
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


def haar_planes(planes: int) -> Tensor:
    """The Haar kernel of every plane: (16 planes, 3, 2, 2 planes), for a stride of (2, 2 planes)."""
    kernel = filled(haar_kernel(3), dim=0)
    columns = (F.pad(kernel, (2 * p, 2 * (planes - 1 - p))) for p in range(planes))
    return torch.cat(list(columns))


def _conv(subnet: DenseSubnet, number: int) -> nn.Conv2d:
    conv = subnet.get_submodule(f"conv{number}")
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 - for the type checker
    return conv


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None  # noqa: S101 - for the type checker
    return conv.bias.detach()


def _same(x: Tensor) -> Tensor:
    return x
