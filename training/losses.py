"""The losses of Eq. 8 and the terms this project adds to them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from monai.losses import DiceLoss


@functools.cache
def _dice() -> DiceLoss:
    """Imported where it is used: MONAI takes longer to import than torch, and whoever exports needs no loss."""
    from monai.losses import DiceLoss  # noqa: PLC0415

    return DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)


def mia_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """L_mia of Eq. 8: cross entropy plus, for segmentation, soft Dice.

    Masks: logits and truth (B, 1, H, W). Classes: logits (B, K), truth (B,) int64, or (B, K) float32 that sums to
    1; no Dice, says the paper.
    """
    if logits.ndim == 2:
        return F.cross_entropy(logits, truth)
    return F.binary_cross_entropy_with_logits(logits, truth) + _dice()(logits, truth)


def percept_loss(reply: Tensor, cover: Tensor) -> Tensor:
    """L_percept of Eq. 8: mean squared distance of the reply to the cover."""
    return F.mse_loss(reply, cover)


def total_loss(logits: Tensor, truth: Tensor, reply: Tensor, cover: Tensor, beta1: float, beta2: float) -> Tensor:
    """L_total of Eq. 8 as it is printed; the paper's weights are 1 and 200.

    For readers: objectives keep the terms apart, see `hidemia.training.algorithm1.FineTune`, so that a log has each.
    """
    return beta1 * mia_loss(logits, truth) + beta2 * percept_loss(reply, cover)


def beyond(distance: Tensor, limit: float) -> Tensor:
    """How far a mean squared distance lies above what is allowed; no pull once it is within."""
    return F.relu(distance - limit)
