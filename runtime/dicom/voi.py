"""Values of interest: the window or table that says which values are dark and which are bright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.dicom import elements, intensity
from hidemia.runtime.dicom.record import Function, Range, Table, Window
from hidemia.runtime.dicom.tables import Entries, table
from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["RANGE", "Wish", "apply", "choose"]

RANGE: Literal["range"] = "range"

Wish: TypeAlias = "tuple[float, float] | str | int | None"
"""Centre and width, the name of a window or table in the file, its number from 1, `range`, or nothing."""


def choose(
    item: Dataset, values: NDArray[np.float64], whole: Range, wish: Wish, name: str
) -> tuple[Window | Table | Range, Entries | None]:
    """Take what was wished for; without a wish the file's first window, else its first table, else the whole range.

    Args:
        item: What holds the VOI LUT of the frame.
        values: Every value that can come in.
        whole: The whole range.
        wish: See `Wish`.
        name: The file's name in errors.

    Returns:
        The record of the choice, and a table's entries.

    Raises:
        ImageError: The file has no such window, or one that means nothing.
    """
    if wish == RANGE:
        return whole, None
    if isinstance(wish, tuple):
        given = Window(center=wish[0], width=wish[1], function="LINEAR", index=None, name=None)
        return _checked(given, name), None
    offered = list(_windows(item, name))
    # A name may be a table's; a number or nothing means a table only where there is no window.
    tables = [] if offered and not isinstance(wish, str) else list(_tables(item, name, signed=bool(values.min() < 0)))
    choices: list[tuple[Window | Table, Entries | None]] = [*((window, None) for window in offered), *tables]
    if wish is None:
        return choices[0] if choices else (whole, None)
    picked = [choice for choice in choices if wish in (choice[0].name, choice[0].index)]
    if len(picked) != 1:
        had = ", ".join(f"{choice.index} {choice.name or ''}".strip() for choice, _ in choices) or "none"
        raise ImageError(f"{name}: expected one of the file's windows ({had}), got {wish}; name one of these")
    return picked[0]


def apply(values: NDArray[np.float64], voi: Window | Table | Range, entries: Entries | None) -> NDArray[np.float64]:
    """Map values to 0..255, not yet rounded, as `choose` decided."""
    if isinstance(voi, Window):
        return intensity.window(values, voi.center, voi.width, voi.function)
    if isinstance(voi, Range):
        return intensity.stretch(values, voi.low, voi.high)
    assert entries is not None  # noqa: S101  a table comes with its entries
    return intensity.stretch(intensity.lookup(values, voi.first, entries), 0, (1 << voi.bits) - 1)


def _windows(item: Dataset, name: str) -> Iterator[Window]:
    centers, widths = (elements.numbers(item, key, name) for key in ("WindowCenter", "WindowWidth"))
    function = elements.text(item, "VOILUTFunction") or "LINEAR"
    if len(centers) != len(widths) or function not in get_args(Function):
        raise ImageError(
            f"{name}: expected a width for each window centre and {' or '.join(get_args(Function))}, got "
            f"{len(centers)} centres, {len(widths)} widths, {function[:20]}; give a window of your own"
        )
    names = elements.texts(item, "WindowCenterWidthExplanation")
    for index, (center, width) in enumerate(zip(centers, widths, strict=True)):
        label = names[index] if index < len(names) else None
        window = Window(center=center, width=width, function=_function(function), index=index + 1, name=label or None)
        yield _checked(window, name)


def _function(text: str) -> Function:
    known: dict[str, Function] = {key: key for key in get_args(Function)}
    return known[text]


def _tables(item: Dataset, name: str, *, signed: bool) -> Iterator[tuple[Table, Entries]]:
    for index, entry in enumerate(item.get("VOILUTSequence") or [], start=1):
        yield table(entry, index, name, signed=signed)


def _checked(window: Window, name: str) -> Window:
    least = 1.0 if window.function == "LINEAR" else 0.0
    if not (np.isfinite([window.center, window.width]).all() and window.width >= least and window.width > 0):
        raise ImageError(
            f"{name}: expected a window at least {least:g} wide for {window.function}, "
            f"got centre {window.center:g}, width {window.width:g}; give a window of your own"
        )
    return window
