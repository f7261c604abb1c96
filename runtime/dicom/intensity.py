"""From stored values to grey levels: the formulas of DICOM PS3.3 C.11, as pure functions of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.dicom.record import Function

__all__ = ["levels", "lookup", "ramp", "stretch", "window"]

Values = NDArray[np.float64]


def ramp(bits: int, *, signed: bool) -> NDArray[np.int64]:
    """Every value that `bits` bits can store, rising by 1.

    An image has far more pixels than values, so the mapping is worked out once for each value.
    """
    low = -(1 << (bits - 1)) if signed else 0
    return np.arange(low, low + (1 << bits), dtype=np.int64)


def lookup(values: NDArray[Any], first: int, entries: NDArray[Any]) -> Values:
    """Map through a table (C.11.1.1.1, C.11.2.1.1): `first` and below give its first entry, beyond its end the last.

    Args:
        values: Of any shape; rounded to whole numbers.
        first: The value that the first entry is for.
        entries: (N,), N at least 1.

    Returns:
        float64, the shape of `values`.
    """
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    chosen: Values = np.asarray(entries, dtype=np.float64)[index]
    return chosen


def window(values: NDArray[Any], center: float, width: float, function: Function = "LINEAR") -> Values:
    """Apply a window (C.11.2.1.2.1, C.11.2.1.3).

    Args:
        values: Of any shape, in the units of the window.
        center: Its middle.
        width: At least 1 for LINEAR, above 0 for the others.
        function: LINEAR treats values as counts, half a unit off and one narrower; LINEAR_EXACT does not; SIGMOID
            has no edge.

    Returns:
        float64 in [0, 255], the shape of `values`.
    """
    values = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        # Beyond 700 the exponential overflows, and the level is 0 or 255 long before.
        return 255.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    if width == 0:
        return np.where(values > center, 255.0, 0.0)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0) * 255.0


def stretch(values: NDArray[Any], low: float, high: float) -> Values:
    """Map `low` to 0 and `high` to 255 along a line, and clip; all 0 where there is no range.

    Args:
        values: Of any shape.
        low: The darkest value.
        high: The brightest.

    Returns:
        float64 in [0, 255], the shape of `values`.
    """
    values = np.asarray(values, dtype=np.float64)
    if high <= low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0


def levels(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Round [0, 255] to the nearest grey level; a tie goes to the even one."""
    rounded: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return rounded
