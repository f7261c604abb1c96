"""Reading single attributes of a dataset, with errors that name them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["group", "integer", "integers", "numbers", "text", "texts"]


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a text attribute without padding; none where it is absent or empty."""
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return ()
    values = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return tuple(str(item).strip(" \0") for item in values)


def text(dataset: Dataset, keyword: str) -> str:
    """The first value of a text attribute, or ''."""
    return next(iter(texts(dataset, keyword)), "")


def numbers(dataset: Dataset, keyword: str, name: str) -> tuple[float, ...]:
    """The values of a numeric attribute; none where it is absent or empty.

    Raises:
        ImageError: One is no finite number.
    """
    found = texts(dataset, keyword)
    try:
        values = tuple(float(item) for item in found)
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise ImageError(f"{name}: expected numbers in {keyword}, got {' '.join(found)[:40]!r}; export it again")
    return values


def integers(dataset: Dataset, keyword: str, name: str) -> tuple[int, ...]:
    """The same, whole numbers."""
    values = numbers(dataset, keyword, name)
    if any(value != int(value) for value in values):
        raise ImageError(f"{name}: expected whole numbers in {keyword}, got {values}; export it again")
    return tuple(int(value) for value in values)


def integer(dataset: Dataset, keyword: str, name: str, default: int | None = None) -> int:
    """The one value of a numeric attribute.

    Raises:
        ImageError: It is absent and has no default, is no whole number, or there are several.
    """
    values = integers(dataset, keyword, name)
    if not values and default is not None:
        return default
    if len(values) != 1:
        raise ImageError(f"{name}: expected one value of {keyword}, got {len(values) or 'none'}; export it again")
    return values[0]


def group(dataset: Dataset, frame: int, keyword: str) -> Dataset:
    """Where the attributes of a functional group stand for a frame: its own group, the shared one, the dataset.

    Args:
        dataset: Of an enhanced multi-frame object or any other.
        frame: Its number, from 1.
        keyword: The group's sequence.
    """
    own: Any = dataset.get("PerFrameFunctionalGroupsSequence")
    shared: Any = dataset.get("SharedFunctionalGroupsSequence")
    for item in [*([own[frame - 1]] if own else []), *([shared[0]] if shared else [])]:
        found: Any = item.get(keyword)
        if found:
            first: Dataset = found[0]
            return first
    return dataset
