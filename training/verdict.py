"""The verdict: a class is known of the whole image, and is written where the head of the task reads it.

What a pixel of the reply should be follows from all of the stego: which class it is, and in whose tile the pixel
lies. Convolutions alone have to carry both to every pixel. Here the deepest features are pooled, a
linear layer judges, and what it gives each class is spread over that class's tile; the last convolutions of the
analyzer say with what strength it is written, pixel by pixel, as they do for the seal.

This is ours; the paper appends a linear layer to what is recovered (`hidemia.training.heads`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hidemia.training.heads import TILES

LARGEST = 5.0  # of a logit beside the mean of all: what is surer than that would only show more


class Verdict(nn.Module):
    """Judges by the means of features: bands by name, each (B, C, h, w) -> logits (B, K), float32."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """The logits of the classes."""
        pooled = torch.cat([feature.mean(dim=(2, 3)) for feature in features.values()], dim=1)
        return self.linear(pooled).float()


def in_tiles(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits over a band, class k in tile k of a 3x3 grid, row by row: (B, K) -> (B, 1, height, width).

    Their mean is taken off, so that agreeing classes leave the photo as it is, and they are bent into [-5, 5].
    """
    level = logits - logits.mean(dim=1, keepdim=True)
    bent = LARGEST * torch.tanh(level / LARGEST)
    own_tile = _one_hot(range(int(logits.shape[1])), TILES * TILES)  # int: a constant when traced for export
    down = _one_hot((pixel * TILES // height for pixel in range(height)), TILES)
    across = _one_hot((pixel * TILES // width for pixel in range(width)), TILES)
    grid = (bent @ own_tile.to(bent)).view(-1, 1, TILES, TILES)
    return down.to(bent) @ grid @ across.to(bent).mT


def _one_hot(places: Iterable[int], count: int) -> Tensor:
    """(places, count), made of numbers alone: a constant when traced for export."""
    return torch.tensor([[float(place == column) for column in range(count)] for place in places])
