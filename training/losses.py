"""The losses of Eq. 8 and the terms this project adds to them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from hidemia.training.channel import Reach

if TYPE_CHECKING:
    from monai.losses import DiceLoss, SSIMLoss

WINDOW_PX = 16  # about as wide as what `hidemia.benchmarks.difference` smooths by, a Gaussian of 5 px


@functools.cache
def _dice() -> DiceLoss:
    """Imported where it is used: MONAI takes longer to import than torch, and whoever exports needs no loss."""
    from monai.losses import DiceLoss  # noqa: PLC0415

    return DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)


@functools.cache
def _ssim() -> SSIMLoss:
    from monai.losses import SSIMLoss  # noqa: PLC0415

    return SSIMLoss(spatial_dims=2)


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


def ssim_loss(reply: Tensor, cover: Tensor) -> Tensor:
    """1 - SSIM of the reply and the cover, (B, 3, H, W) in [0, 1]; 0 where they are equal.

    In float32 whatever the precision of training: SSIM takes the difference of squares that are nearly equal.
    """
    with torch.autocast(reply.device.type, enabled=False):
        loss: Tensor = _ssim()(reply.float(), cover.float())
    return loss


def even_loss(change: Tensor, written: Tensor) -> Tensor:
    """How far the places of a change tell what is written: squared correlation, 0 to 1, mean over images.

    Both (B, C, H, W), H and W at least 1.5 times `WINDOW_PX`: reply - stego, whose size is looked at, and
    R(reply) - R(stego), what it says. Each is taken as the mean over windows, since whoever subtracts the photos sees
    more than a pixel; what lies beyond the last whole window is left out. 0 where either is the same everywhere. Values
    that do not change at all get no gradient.
    """
    with torch.autocast(change.device.type, enabled=False):
        size, said = _in_windows(change.float().abs()), _in_windows(written.float())
        together = (size * said).mean(dim=1)
        loss: Tensor = (together.square() / (size.square().mean(dim=1) * said.square().mean(dim=1) + 1e-20)).mean()
    return loss


def stray_loss(recovered: Tensor) -> Tensor:
    """How far what R finds strays outside [-1, 2], on average; 0 within. (B, C, H, W).

    Differential logits of 19 and -21 lie within, whatever the scan. Couplings amplify exponentially: a few values can
    come to hundreds, and then so does the task's loss.
    """
    return F.relu((recovered.float() - 0.5).abs() - 1.5).mean()


def excess_loss(reply: Tensor, stego: Tensor, reach: Reach) -> Tensor:
    """Mean squared distance by which a reply, before it is held, reaches too far; 0 within. Both (B, 3, H, W).

    Colours in which it may not differ at all count for nothing: there it is the stego, whatever was written.
    """
    _, change = reach.parts(reply - stego)
    return F.relu(change.abs() - reach.levels / 255).square().mean()


def _in_windows(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N): means over colours and overlapping windows, less the mean of all."""
    means = F.avg_pool2d(image.mean(dim=1, keepdim=True), WINDOW_PX, stride=WINDOW_PX // 2).flatten(1)
    return means - means.mean(dim=1, keepdim=True)


def total_loss(logits: Tensor, truth: Tensor, reply: Tensor, cover: Tensor, beta1: float, beta2: float) -> Tensor:
    """L_total of Eq. 8 as it is printed; the paper's weights are 1 and 200.

    For readers: objectives keep the terms apart, see `hidemia.training.algorithm1.FineTune`, so that a log has each.
    """
    return beta1 * mia_loss(logits, truth) + beta2 * percept_loss(reply, cover)


def beyond(distance: Tensor, limit: float) -> Tensor:
    """How far a distance, mean squared or 1 - SSIM, lies above what is allowed; no pull once it is within."""
    return F.relu(distance - limit)
