"""Lookup tables as a file holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.dicom import elements
from hidemia.runtime.dicom.record import Table
from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Entries", "table"]

Entries = NDArray[np.int64]


def table(item: Dataset, index: int, name: str, *, signed: bool) -> tuple[Table, Entries]:
    """Read one item of a Modality or VOI LUT Sequence.

    Args:
        item: The item.
        index: Its number, from 1.
        name: The file's name in errors.
        signed: Whether its inputs can be negative.

    Returns:
        The record, and the entries: (N,), not negative, within the bits that it says.

    Raises:
        ImageError: It contradicts itself.
    """
    descriptor = elements.integers(item, "LUTDescriptor", name)
    count, first, bits = descriptor if len(descriptor) == 3 else (0, 0, 0)
    count = count or 1 << 16  # it does not fit into the 16 bits that it has
    entries = _entries(item, count, bits, name)[:count]
    if len(entries) != count or not 8 <= bits <= 16 or entries.min() < 0 or entries.max() >= 1 << bits:
        raise ImageError(
            f"{name}: expected a lookup table of {count} entries of 8 to 16 bits, got {len(entries)} of {bits} bits; "
            "give a window of your own or export it again"
        )
    if signed and first >= 1 << 15:  # read as if it were unsigned
        first -= 1 << 16
    label = elements.text(item, "LUTExplanation") or None
    return Table(first=first, entries=count, bits=bits, index=index, name=label), entries


def _entries(item: Dataset, count: int, bits: int, name: str) -> Entries:
    data: Any = item.get("LUTData")
    if not isinstance(data, bytes):
        return np.array(elements.integers(item, "LUTData", name), dtype=np.int64)
    if bits == 8 and len(data) == count + count % 2:  # two entries of 8 bits a word
        return np.frombuffer(data, np.uint8).astype(np.int64)
    order = ">" if item.original_encoding[1] is False else "<"
    return np.frombuffer(data, f"{order}u2").astype(np.int64)
