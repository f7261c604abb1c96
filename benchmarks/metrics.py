"""Figures of a task, per image, from what a device receives."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

Mask = NDArray[np.bool_]
LUMA = np.array([0.299, 0.587, 0.114])
"""What red, green and blue are of brightness: ITU-R BT.601."""


def luma_psnr_db(photo: NDArray[np.uint8], cover: NDArray[np.uint8]) -> float:
    """PSNR of brightness alone, peak 255, not rounded: uint8 (H, W, 3) twice -> dB, infinite where it is the same."""
    apart = np.subtract(photo, cover, dtype=np.int16) @ LUMA
    mean = float(np.square(apart).mean())
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def dice(prediction: Mask, truth: Mask) -> float:
    """Dice similarity, 2 |A and B| / (|A| + |B|), in 0..1. Two empty masks agree fully."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else 1.0


def average_surface_distance_px(prediction: Mask, truth: Mask) -> float:
    """Symmetric average surface distance in pixels; an empty mask costs the image's diagonal."""
    if not prediction.any() or not truth.any():
        return math.hypot(*truth.shape)
    one_hot = [torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32)) for mask in (prediction, truth)]
    with warnings.catch_warnings():
        # MONAI 1.5 calls its own deprecated argument.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy.*", FutureWarning)
        return compute_average_surface_distance(*one_hot, include_background=False, symmetric=True).item()


def accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images (N, K) whose most probable class is the label (N,)."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def balanced_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Accuracy of each class, averaged over classes."""
    return multiclass_accuracy(
        torch.from_numpy(probabilities), torch.from_numpy(labels), probabilities.shape[1], average="macro"
    ).item()


def auc(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve, one class against the rest, averaged over classes."""
    return multiclass_auroc(
        torch.from_numpy(probabilities), torch.from_numpy(labels), probabilities.shape[1], average="macro"
    ).item()
