"""Other papers' networks in the form they are deployed in: the same function, without what engines do not need.

Batch norm is folded into the convolution before it; where an activation stands between them, it stays as a factor
and an offset. Standardised kernels are stored as they are used. A group norm becomes plain arithmetic over flat groups,
of which every size but the batch is known.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn

from hidemia.export.deploy import folded as factors
from hidemia.training.transunet import StandardConv

M = TypeVar("M", bound=nn.Module)


def folded(network: M) -> M:
    """A copy of a trained network, in evaluation mode; the network itself is left alone."""
    twin = copy.deepcopy(network).eval()
    for module in list(twin.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, StandardConv):
                setattr(module, name, stored(child))
            elif isinstance(child, nn.GroupNorm):
                setattr(module, name, FlatGroupNorm(child))
    for module in list(twin.modules()):
        children = list(module.named_children())
        for (first, conv), (second, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _follows(module, first, second):
                setattr(module, first, with_norm(conv, norm))
                setattr(module, second, nn.Identity())
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, Affine(child))
    return twin


def _follows(module: nn.Module, conv: str, norm: str) -> bool:
    """Whether the norm reads the convolution: neighbours in a sequence, or ``conv1`` and ``bn1``."""
    return isinstance(module, nn.Sequential) or norm == conv.replace("conv", "bn")


def with_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and the batch norm behind it as one convolution."""
    factor, offset = factors(norm)
    weight = conv.weight.detach() * factor[:, None, None, None]
    return _copied(conv, weight, offset if conv.bias is None else offset + conv.bias.detach() * factor)


def stored(conv: StandardConv) -> nn.Conv2d:
    """A convolution of the kernels that a standardised one uses."""
    return _copied(conv, conv.standardised().detach(), None)


def _copied(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    made = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,  # type: ignore[arg-type]
        groups=conv.groups, bias=bias is not None, dtype=weight.dtype,
    )  # fmt: skip
    made.weight = nn.Parameter(weight)
    if bias is not None:
        made.bias = nn.Parameter(bias)
    return made


class Affine(nn.Module):
    """Batch norm that stands alone: a factor and an offset per channel."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, offset = factors(norm)
        self.factor, self.offset = nn.Parameter(factor[:, None, None]), nn.Parameter(offset[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor + self.offset


class FlatGroupNorm(nn.Module):
    """Group norm over flat groups, then a factor and an offset per channel."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.groups, self.eps = norm.num_groups, norm.eps
        self.factor = nn.Parameter(norm.weight.detach()[:, None, None])
        self.offset = nn.Parameter(norm.bias.detach()[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = (int(size) for size in x.shape[1:])  # int: constants when traced for export
        flat = x.reshape(-1, self.groups, channels // self.groups * height * width)
        flat = flat - flat.mean(dim=2, keepdim=True)
        flat = flat / torch.sqrt((flat * flat).mean(dim=2, keepdim=True) + self.eps)
        return flat.reshape(-1, channels, height, width) * self.factor + self.offset
