"""How close two images are, as every figure of this project is taken: on uint8 RGB, after PNG."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import ImageError

__all__ = ["changed_share", "low_change", "psnr", "ssim"]

_CLIPPED_LEVELS = 8  # of black or white: an answer moves hardly a value by more
_RADIUS_PX = 5
_SIGMA_PX = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio in dB, peak 255, over all values at once.

    Args:
        a: uint8, any shape.
        b: uint8, the same shape.

    Returns:
        dB; `inf` where the two are equal.

    Raises:
        ImageError: The shapes differ.
    """
    _check(a, b)
    error = np.subtract(a, b, dtype=np.int32)
    mean = float(np.mean(np.square(error), dtype=np.float64))
    return math.inf if mean == 0.0 else 10.0 * math.log10(255.0**2 / mean)


def low_change(changed: Image, original: Image) -> float:
    """Root mean square change of the means of 2x2 px: of all but the finest detail.

    Where a value of the original is so near to black or white that a change may have been clipped, a mean says
    nothing and is left out.

    Args:
        changed: uint8 (H, W, C), at least 2 px a side; a last odd row or column is left out.
        original: The same shape.

    Returns:
        Levels of 255; 0 where all is black or white.

    Raises:
        ImageError: The shapes differ.
    """
    _check(changed, original)
    height, width = original.shape[0] // 2 * 2, original.shape[1] // 2 * 2
    error = np.subtract(changed, original, dtype=np.int32)
    open_ended = (original >= _CLIPPED_LEVELS) & (original <= 255 - _CLIPPED_LEVELS)
    corners = [(slice(row, height, 2), slice(column, width, 2)) for row in (0, 1) for column in (0, 1)]
    counts = np.logical_and.reduce([open_ended[corner] for corner in corners])
    if not counts.any():
        return 0.0
    sums = np.sum([error[corner] for corner in corners], axis=0)[counts]
    return math.sqrt(float(np.mean(np.square(sums), dtype=np.float64))) / 4.0


def ssim(a: Image, b: Image) -> float:
    """Structural similarity: Gaussian window 11, sigma 1.5, data range 255, mean over whole windows.

    Args:
        a: uint8 (H, W, 3), RGB, at least 11 px a side.
        b: The same shape.

    Returns:
        At most 1, which is reached where the two are equal.

    Raises:
        ImageError: The shapes differ, or a side is shorter than the window.
    """
    _check(a, b)
    if a.ndim != 3 or min(a.shape[:2]) < 2 * _RADIUS_PX + 1:
        raise ImageError(f"ssim: expected (H, W, C) of at least 11 px a side, got {a.shape}; use a larger image")
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x * mean_x
    var_y = _blur(y * y) - mean_y * mean_y
    cov = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + _C1) * (2 * cov + _C2)) / (
        (mean_x * mean_x + mean_y * mean_y + _C1) * (var_x + var_y + _C2)
    )
    return float(similarity[_RADIUS_PX:-_RADIUS_PX, _RADIUS_PX:-_RADIUS_PX].mean())


def changed_share(a: Image, b: Image) -> float:
    """Share of values that differ, 0..1.

    Raises:
        ImageError: The shapes differ.
    """
    _check(a, b)
    return float(np.count_nonzero(a != b) / a.size)


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    window = cv2.getGaussianKernel(2 * _RADIUS_PX + 1, _SIGMA_PX, cv2.CV_64F)
    blurred: NDArray[Any] = cv2.sepFilter2D(x, cv2.CV_64F, window, window)
    return blurred.reshape(x.shape)


def _check(a: Image, b: Image) -> None:
    if a.shape != b.shape:
        raise ImageError(f"similarity: expected two images of one shape, got {a.shape} and {b.shape}; scale one")
