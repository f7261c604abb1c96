"""Grey and 16-bit arrays as uint8 RGB: only through a window that the caller names, and may keep as the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image, check_image
from hidemia.runtime.errors import ImageError

__all__ = ["Window", "to_image"]

_DTYPES = ("uint8", "int8", "uint16", "int16")


@dataclass(frozen=True, slots=True)
class Window:
    """The values that become 0 and 255; what lies between is linear, what lies beyond is clipped.

    Attributes:
        low: Becomes 0.
        high: Becomes 255; greater than `low`.

    Raises:
        ImageError: `high` is not above `low`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -np.inf < self.low < self.high < np.inf:
            raise ImageError(f"window: expected low below high, got {self.low:g} and {self.high:g}; swap or widen them")

    @classmethod
    def full(cls, bits: int) -> Window:
        """Everything that an unsigned value of so many bits can be: `full(12)` is 0..4095."""
        return cls(0, 2**bits - 1)

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> Window:
        """From the least to the greatest value of one image. Frames of one series need one window for all."""
        return cls(float(pixels.min()), float(pixels.max()))


def to_image(pixels: NDArray[Any], window: Window, *, name: str = "image") -> Image:
    """Map an array to the image type of this package. No window is ever guessed.

    Args:
        pixels: 8 or 16-bit integers, (H, W) grey or (H, W, 3) RGB, at least 32 px a side.
        window: Which values become 0 and 255; `Window.full(8)` changes nothing in uint8.
        name: The image's name in errors.

    Returns:
        uint8 (H, W, 3), RGB; halves are rounded up.

    Raises:
        ImageError: Another dtype or shape, or too small.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype.name not in _DTYPES or pixels.ndim not in (2, 3):
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ImageError(
            f"{name}: expected 8 or 16-bit integers, (H, W) grey or (H, W, 3) RGB, got {got}; convert it first"
        )
    share = (pixels.astype(np.float64) - window.low) / (window.high - window.low)
    levels = np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    return check_image(np.repeat(levels[..., None], 3, axis=2) if levels.ndim == 2 else levels, name)
