"""The one image type of the public API, and the check that guards it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.errors import ImageError

__all__ = ["MIN_SIDE_PX", "Image", "check_image", "check_photo"]

Image: TypeAlias = NDArray[np.uint8]
"""uint8, (H, W, 3), RGB, values 0..255."""

MIN_SIDE_PX = 32
"""Below this an image holds nothing that could be analysed or hidden in."""


def check_image(image: Any, what: str) -> Image:
    """Return `image` as it is if it is uint8 (H, W, 3) with both sides at least 32 px.

    Args:
        image: The array to check.
        what: Its name in the error: secret, cover, stego, reply.

    Raises:
        ImageError: Another type, shape, dtype, or too small.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f"{what}: expected a uint8 array (H, W, 3) in RGB, got {_describe(image)}; convert it first")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(f"{what}: expected at least {MIN_SIDE_PX} px a side, got {width}x{height}; use a larger image")
    return image


def check_photo(image: Any, what: str, size_px: int) -> Image:
    """Return `image` as it is if it is uint8 (size_px, size_px, 3), the network's own size.

    Raises:
        ImageError: Anything else. A stego or a reply is never scaled: that destroys what it carries.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape != (size_px, size_px, 3):
        raise ImageError(
            f"{what}: expected a uint8 array ({size_px}, {size_px}, 3) in RGB, got {_describe(image)}; "
            "pass it exactly as it was made"
        )
    return image


def _describe(image: Any) -> str:
    if isinstance(image, np.ndarray):
        return f"{image.dtype} {image.shape}"
    return type(image).__name__
