"""Changes that every detector must find, and that an attacker can train on without our networks."""

from __future__ import annotations

import numpy as np

from hidemia.benchmarks.attacks.sources import Image


def lsb_matching(photo: Image, rate: float, draw: np.random.Generator) -> Image:
    """LSB matching of random bits (Sharp 2001): where a bit is wrong already, the value moves by 1 up or down.

    Args:
        photo: uint8, any shape.
        rate: Bits per value, 0 to 1. Half of the bits are right already.
        draw: Of bits and directions.
    """
    moved = draw.random(photo.shape) < rate / 2
    step = draw.choice(np.array([-1, 1], np.int16), photo.shape)
    step[photo == 0], step[photo == 255] = 1, -1
    return (photo + moved * step).astype(np.uint8)


def noise_like(photo: Image, other: Image, draw: np.random.Generator) -> Image:
    """The photo with Gaussian noise, so that its distance to the photo is that of another one: equal PSNR.

    Args:
        photo: uint8 (H, W, 3).
        other: The same photo with something in it.
        draw: Of the noise.
    """
    wanted = float(np.mean((other.astype(np.float64) - photo) ** 2))
    # Rounding adds the variance of a uniform error to the noise's own.
    deviation = max(wanted - 1 / 12, 0.0) ** 0.5
    return np.clip(np.rint(photo + draw.normal(0, deviation, photo.shape)), 0, 255).astype(np.uint8)
