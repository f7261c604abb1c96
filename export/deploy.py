"""The analyzer in the form it is deployed in: the same function, rewritten exactly for inference engines.

MoDC. Eq. 3 is one convolution with a kernel per sample, and batch norm behind it is a factor and an offset per
output channel, which the linear maps T_i let through: ``T_i(s w) = s T_i(w)``. That leaves two exact forms:

``one``   the per-sample kernel is mixed first, then there is a single convolution. An ONNX convolution takes its
          number of groups from the file, so this serves a batch of one.
``any``   one branch for each support (3x3, 1x1, 1x3, 3x1, and 5x5 for ``literal5``), their outputs weighted by
          the gate. It serves every batch.

Branch kernels are computed from w inside the graph, from constants: an engine folds them when it loads the file,
and the file holds every weight once.
"""

from __future__ import annotations

import copy
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.analyzer import Analyzer, DoubleConv
from hidemia.training.asywa import AsyWA
from hidemia.training.modc import MoDC
from hidemia.training.seal import spread
from hidemia.training.wavelet import BANDS

Form: TypeAlias = Literal["one", "any"]


class PlainConv(nn.Module):
    """MoDC with k = 0 and its batch norm, folded: a plain convolution."""

    def __init__(self, conv: MoDC, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, offset = folded(norm)
        self.weight = nn.Parameter(conv.weight * factor[:, None, None, None])
        self.bias = nn.Parameter(offset)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.conv2d(x, self.weight, self.bias, padding=1))


class MixedConv(nn.Module):
    """Form ``one``: (1, I, h, w) -> (1, O, h, w), batch norm and ReLU included."""

    def __init__(self, conv: MoDC, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, offset = folded(norm)
        self.gate, self.k, self.side = conv.gate, conv.k, conv.side
        self.shape = (*conv.weight.shape[:2], conv.side, conv.side)
        self.weight = nn.Parameter(conv.weight.flatten(1))  # (O, I 9)
        self.factor = nn.Parameter(factor[:, None])
        self.bias = nn.Parameter(offset)
        self.vanilla = nn.Parameter(conv.maps[0].T.contiguous())  # (9, side^2)
        differences = conv.maps[list(conv.candidates)].transpose(1, 2)  # (n, 9, side^2)
        self.differences = nn.Parameter((-conv.strength * differences).flatten(1).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        g = gate_weights(self.gate, x, self.k)  # (1, n)
        mixed = self.vanilla + (g @ self.differences).reshape(9, self.side**2)
        kernel = ((self.weight * self.factor).reshape(-1, 9) @ mixed).reshape(self.shape)
        return F.relu(F.conv2d(x, kernel, self.bias, padding=self.side // 2))


class BranchedConv(nn.Module):
    """Form ``any``: (B, I, h, w) -> (B, O, h, w), batch norm and ReLU included."""

    def __init__(self, conv: MoDC, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, offset = folded(norm)
        self.gate, self.k = conv.gate, conv.k
        self.outputs, self.inputs = conv.weight.shape[:2]
        self.weight = nn.Parameter(conv.weight.flatten(1))  # (O, I 9)
        self.factor = nn.Parameter(factor[:, None])
        self.bias = nn.Parameter(offset)
        maps = torch.cat([conv.maps[:1], -conv.strength * conv.maps[list(conv.candidates)]])
        self.groups = [supports for supports in by_support(maps) if supports]
        self.maps = nn.ParameterList(
            torch.stack([cropped(maps[i], box) for i in members], dim=1).flatten(1)  # (9, members * taps)
            for box, members in self.groups
        )

    def forward(self, x: Tensor) -> Tensor:
        g = torch.split(gate_weights(self.gate, x, self.k)[:, :, None, None], 1, dim=1)
        weight = (self.weight * self.factor).reshape(-1, 9)
        total: Tensor | None = None
        for (box, members), maps in zip(self.groups, self.maps, strict=True):
            kernels = (weight @ maps).reshape(self.outputs, self.inputs, len(members), *box)
            kernels = kernels.permute(2, 0, 1, 3, 4).reshape(-1, self.inputs, *box)
            bias = None
            if 0 in members:  # the vanilla convolution carries the offset
                bias = torch.cat([self.bias, self.bias.new_zeros((len(members) - 1) * self.outputs)])
            outputs = F.conv2d(x, kernels, bias, padding=(box[0] // 2, box[1] // 2))
            for i, output in zip(members, torch.split(outputs, self.outputs, dim=1), strict=True):
                term = output if i == 0 else output * g[i - 1]
                total = term if total is None else total + term
        assert total is not None  # noqa: S101 - there is always the vanilla convolution
        return F.relu(total)


def folded(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Batch norm in evaluation as a factor and an offset per channel, each (C,).

    In float64: in float32 the last bit of a root or a quotient is another on another maker's processor, and the same
    weights must give the same bytes everywhere.
    """
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    offset = norm.bias.double() - norm.running_mean.double() * factor
    kind = norm.weight.dtype
    return factor.to(kind).detach(), offset.to(kind).detach()


def gate_weights(gate: nn.Module, x: Tensor, k: int) -> Tensor:
    """G of Eq. 3, as `hidemia.training.modc` computes it, in operators that every engine has: (B, n)."""
    delta = gate(F.adaptive_avg_pool2d(x, 1).flatten(1)).softmax(dim=1)
    kth = delta.topk(k, dim=1).values[:, k - 1 : k]
    kept: Tensor = delta * (delta >= kth).to(delta.dtype)
    return kept / kept.sum(dim=1, keepdim=True)


def by_support(maps: Tensor) -> list[tuple[tuple[int, int], list[int]]]:
    """The difference maps (n, side^2, 9) by the smallest centred box (height, width) that holds their taps."""
    side = int(maps.shape[1] ** 0.5)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, rows in enumerate(maps.abs().sum(dim=2).reshape(-1, side, side)):
        taps = rows.nonzero() - side // 2
        box = tuple(2 * int(reach) + 1 for reach in taps.abs().amax(dim=0))
        groups.setdefault((box[0], box[1]), []).append(i)
    return list(groups.items())


def cropped(rows: Tensor, box: tuple[int, int]) -> Tensor:
    """The rows of one map (side^2, 9) inside a centred box -> (9, box taps)."""
    side = int(rows.shape[0] ** 0.5)
    top, left = (side - box[0]) // 2, (side - box[1]) // 2
    return rows.T.reshape(9, side, side)[:, top : top + box[0], left : left + box[1]].reshape(9, -1).clone()


class DeployConvs(nn.Module):
    """`DoubleConv` in one of the forms."""

    def __init__(self, block: DoubleConv, form: Form) -> None:
        super().__init__()
        kind = PlainConv if block.conv1.k == 0 else MixedConv if form == "one" else BranchedConv
        self.conv1, self.conv2 = kind(block.conv1, block.norm1), kind(block.conv2, block.norm2)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.conv2(self.conv1(x))
        return features


class DeployAttention(nn.Module):
    """`AsyWA` in its linear form with constant shapes: channels first, no shape arithmetic but the batch."""

    def __init__(self, attention: AsyWA, channels: int, side: int) -> None:
        super().__init__()
        self.source, self.channels, self.side = attention, channels, side
        self.head = (-1, side * side, attention.heads, channels // attention.heads)

    def forward(self, bands: dict[str, Tensor]) -> dict[str, Tensor]:
        a, pixels = self.source, self.side * self.side
        q, matrix = {}, {}
        for name in BANDS:
            x = bands[name].reshape(-1, self.channels, pixels).transpose(1, 2)
            qkv = a.qkv[name](a.norm[name](x)).split(self.channels, dim=2)
            query, k, v = (part.reshape(self.head).transpose(1, 2) for part in qkv)  # (B, heads, N, C/heads)
            q[name], matrix[name] = query, (k.transpose(2, 3) @ v) * pixels**-a.power
        out = {}
        for name in BANDS:
            first, *rest = (q[source] for source in a.sources[name])
            query = sum(rest, start=first)
            attended = (query @ matrix[name]).transpose(1, 2).reshape(-1, pixels, self.channels)
            received = a.out[name](attended).transpose(1, 2).reshape(-1, self.channels, self.side, self.side)
            out[name] = bands[name] + received
        return out


def deployed(analyzer: Analyzer, form: Form, image_size_px: int) -> Analyzer:
    """A copy of a trained analyzer with every MoDC and AsyWA in its deployed form."""
    twin = copy.deepcopy(analyzer).eval()
    if twin.config.seal is not None:
        twin.signs = spread(twin.signs, image_size_px // 2, image_size_px // 2)
    for unet in twin.unets.values():
        for blocks in (unet.down, unet.merge):
            assert isinstance(blocks, nn.ModuleList)  # noqa: S101 - for the type checker
            for i, block in enumerate(blocks):
                assert isinstance(block, DoubleConv)  # noqa: S101
                blocks[i] = DeployConvs(block, form)
    for level, attention in twin.attention.items():
        if isinstance(attention, AsyWA) and attention.sources:
            side = image_size_px // 2 // 2 ** int(level)
            twin.attention[level] = DeployAttention(attention, twin.config.width * 2 ** int(level), side)
    return twin
