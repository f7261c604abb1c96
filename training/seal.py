"""The seal: how a device knows that a reply is an analysis, by its own pair's analyzer, of the photo it sent.

The result is read from the grey of what R finds, the mean of its three channels. The seal uses the colour, which that
mean does not see: the analyzer writes a fixed pattern of signs, on a grid of 8x8 tiles, into red minus blue. Where
nothing is hidden it writes the opposite. A photo that was not analysed, was analysed by another model or was damaged
on the way carries no pattern, or not everywhere.

This is ours; the paper accepts any photo as an answer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

TILES = 8
AMPLITUDE = 0.1  # of half of red minus blue in the recovered frame, in [0, 1]: agreement 1
_RED_MINUS_BLUE = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
SEALED = 0.5  # agreement from which a tile counts as sealed, half way between trained and nothing


def pattern(seed: int) -> Tensor:
    """The signs of a pair, (1, 1, 8, 8), -1 or 1: half of each, so that a tint agrees with none."""
    order = torch.randperm(TILES * TILES, generator=torch.Generator().manual_seed(seed))
    signs = torch.where(order < TILES * TILES // 2, -1.0, 1.0)
    return signs.view(1, 1, TILES, TILES)


def spread(signs: Tensor, height: int, width: int) -> Tensor:
    """The pattern over a whole frame or band: (1, 1, 8, 8), or spread before -> (1, 1, height, width)."""
    if signs.shape[2:] == (height, width):
        return signs
    return F.interpolate(signs, size=(height, width), mode="nearest")


def agreement(recovered: Tensor, reference: Tensor, signs: Tensor) -> Tensor:
    """How strongly each tile carries the seal: 1 as trained, 0 not at all, -1 where nothing was hidden.

    R(x_mia) and R(x_stego), each (B, 3, H, W), and a pattern -> (B, 8, 8).
    """
    colour = F.conv2d(recovered - reference, _RED_MINUS_BLUE.to(recovered) / 2)
    tile = (int(colour.shape[2]) // TILES, int(colour.shape[3]) // TILES)  # int: a constant when traced for export
    return (F.avg_pool2d(colour, tile) * (signs / AMPLITUDE))[:, 0]


def seal_loss(agreed: Tensor, hidden: Tensor) -> Tensor:
    """Squared hinge: agreement (B, 8, 8) of at least 1 where something is hidden, of at most -1 where nothing is.

    ``hidden`` is boolean, (B,).
    """
    side = torch.where(hidden, 1.0, -1.0).view(-1, 1, 1)
    return F.relu(1 - side * agreed).square().mean()
