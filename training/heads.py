"""From what R finds in a reply to the result: the head of the task.

The paper averages the three recovered channels and takes the sigmoid. With recovered values in [0, 1] that is
never below 0.5, so the printed form cannot say "no". Two forms that can::

    printed        logit = mean(R(x_mia))
    centred        logit = 10 (mean(R(x_mia)) - 0.5)
    differential   logit = 20 (mean(R(x_mia)) - mean(R(x_stego))) - 1

``differential`` uses the stego, which the device still has: the analyzer then only adds the result to what is
hidden and need not erase the secret, so the reply changes less. It is what the shipped models use.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FORMS = ("printed", "centred", "differential")
TILES = 3  # a side of the grid in which classes are written


def logits(recovered: Tensor, reference: Tensor, form: str) -> Tensor:
    """R(x_mia) and R(x_stego), each (B, 3, H, W) -> logits (B, 1, H, W)."""
    mean = recovered.mean(dim=1, keepdim=True)
    if form == "printed":
        return mean
    if form == "centred":
        return 10 * (mean - 0.5)
    return 20 * (mean - reference.mean(dim=1, keepdim=True)) - 1


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")


class SegmentationHead(nn.Module):
    """Logits of a mask, (B, 1, H, W)."""

    def __init__(self, form: str = "differential") -> None:
        super().__init__()
        _check_form(form)
        self.form = form

    def forward(self, recovered: Tensor, reference: Tensor) -> Tensor:
        """`logits` in this head's form."""
        return logits(recovered, reference, self.form)

    def probabilities(self, recovered: Tensor, reference: Tensor) -> Tensor:
        """(B, H, W) in [0, 1]."""
        return self(recovered, reference).sigmoid().squeeze(1)


class GridMean(nn.Module):
    """Means over a grid of windows: (B, C, H, W) -> (B, C, count, count)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, image: Tensor) -> Tensor:
        """Neighbouring windows overlap by a row or column where the grid does not divide the image."""
        return torch.nn.functional.adaptive_avg_pool2d(image, self.count)


class ClassificationHead(nn.Module):
    """Logits of classes, (B, K).

    ``tiles``: class k is written in tile k of a 3x3 grid over the recovered image, row by row, and read there
    by the mean: no parameters, nothing to overfit. ``pooled`` is the paper's appended head: pooling to 14x14
    and a linear layer.
    """

    def __init__(self, classes: int, kind: str = "tiles", form: str = "differential") -> None:
        super().__init__()
        if kind not in ("tiles", "pooled"):
            raise ValueError(f"kind: expected 'tiles' or 'pooled', got {kind!r}")
        _check_form(form)
        if kind == "tiles" and not 1 <= classes <= TILES * TILES:
            raise ValueError(f"classes: expected 1 to 9 for a 3x3 grid, got {classes}")
        self.classes, self.form, self.means = classes, form, GridMean(14 if kind == "pooled" else TILES)
        self.linear = nn.Linear(3 * 14 * 14, classes) if kind == "pooled" else None

    def forward(self, recovered: Tensor, reference: Tensor) -> Tensor:
        """R(x_mia) and R(x_stego), each (B, 3, H, W) -> (B, K)."""
        if self.linear is not None:
            return self.linear(self.means(recovered).flatten(1))
        return self.means(logits(recovered, reference, self.form)).flatten(1)[:, : self.classes]

    def probabilities(self, recovered: Tensor, reference: Tensor) -> Tensor:
        """(B, K), summing to 1."""
        return self(recovered, reference).softmax(dim=1)
