"""The channel between device and server: a photo of 8 bits a colour, stored as PNG."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_REACH = 16  # of a veil, see `hidemia.runtime.veil`, which devices import without torch


def transmit(image: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the 256 levels of a PNG; the gradient passes straight through.

    (B, C, H, W) float32 -> the same shape. Forward it is exactly what the other side reads, backward the
    identity, also outside [0, 1], so that a clipped pixel can still come back.
    """
    return _straight_through(image, image.clamp(0, 1).mul(255).round().div(255))


def held(reply: Tensor, stego: Tensor, reach: int) -> Tensor:
    """A reply held to at most ``reach`` levels from the stego, which is what travels under a veil of that reach.

    Both (B, 3, H, W), the stego as it was received: whole levels. Rounded, the reply is as near too.
    """
    most = reach / 255
    return stego + (reply - stego).clamp(-most, most)


def within(reply: Tensor, stego: Tensor, reach: int) -> Tensor:
    """`held`, through which the gradient passes straight, so that a value that reached too far can come back."""
    return _straight_through(reply, held(reply, stego, reach))


def veiled(stego: Tensor, reach: int, draw: torch.Generator) -> Tensor:
    """What travels in the place of a reply: (B, 3, H, W), each value evenly drawn from its window around the stego's.

    That is all that anyone without the key can tell of it (`hidemia.runtime.veil`), so no reply is asked for.
    """
    levels = to_uint8(stego).float()
    drawn = torch.randint(0, 2 * reach + 1, levels.shape, generator=draw)
    return ((levels - reach).clamp(0, 255 - 2 * reach) + drawn.to(levels)) / 255


def to_uint8(image: Tensor) -> Tensor:
    """(B, C, H, W) float in [0, 1] -> (B, C, H, W) uint8, clipped and rounded."""
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)


def _straight_through(image: Tensor, received: Tensor) -> Tensor:
    """Forward what is received, backward the identity."""
    return image + (received.detach() - image.detach())
