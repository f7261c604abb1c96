"""Figures on a page of the documents: what stands between two marks is written by the command that the first names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hidemia.runtime.errors import DataError

END = "<!-- end of figures -->"


def begin(module: str) -> str:
    """The mark of a module of this layer, such as ``card``."""
    return f"<!-- figures: python -m hidemia.benchmarks.{module} -->"


def renewed(page: str, module: str, lines: Sequence[str]) -> str:
    """The page with these lines between the module's marks.

    Raises:
        ValueError: the page lacks the marks.
    """
    return between(page, begin(module), lines)


def between(page: str, first: str, lines: Sequence[str]) -> str:
    """The page with these lines between a mark and the next `END`.

    Raises:
        ValueError: the page lacks the marks.
    """
    before, mark, rest = page.partition(first)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"expected a page with {first} and {END}, got one without; put them where it belongs")
    return "\n".join([before + mark, "", *lines, "", end + after])


def opened(page: Path, module: str) -> str:
    """The text of a page that can take the lines of a module; to be called before the work.

    Raises:
        DataError: it is not there, or lacks the marks.
    """
    return opened_at(page, begin(module))


def opened_at(page: Path, first: str) -> str:
    """The same for lines behind a mark."""
    try:
        text = page.read_text(encoding="utf-8")
        between(text, first, [])
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(f"{page}: expected a page with marks for figures, got: {why}") from None
    return text
