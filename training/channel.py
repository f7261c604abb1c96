"""The channel between device and server: a photo of 8 bits a colour, stored as PNG."""

from __future__ import annotations

import torch
from torch import Tensor


def transmit(image: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the 256 levels of a PNG; the gradient passes straight through.

    (B, C, H, W) float32 -> the same shape. Forward it is exactly what the other side reads, backward the
    identity, also outside [0, 1], so that a clipped pixel can still come back.
    """
    received = image.detach().clamp(0, 1).mul(255).round().div(255)
    return image + (received - image.detach())


def to_uint8(image: Tensor) -> Tensor:
    """(B, C, H, W) float in [0, 1] -> (B, C, H, W) uint8, clipped and rounded."""
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)
