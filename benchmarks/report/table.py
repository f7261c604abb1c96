"""A table of a report: rows of text, and how numbers are written in them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """Rows of text below a head; columns that are named hold numbers, to the right."""

    head: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(cls, head: str, rows: list[list[str]], text_columns: int = 1) -> Table:
        """A table whose head is given as one text, and whose columns after the first few hold numbers."""
        names = [name.strip() for name in head.split("|")]
        return cls(names, rows, frozenset(range(text_columns, len(names))))


def number(value: float | None, form: str) -> str:
    """In this format; nothing for None."""
    return "" if value is None else format(value, form)


def giga(number: int | None) -> str:
    """In thousands of millions."""
    return "" if number is None else f"{number / 1e9:.3f}"


def mib(size: int | None) -> str:
    """Bytes in MiB."""
    return "" if size is None else f"{size / 2**20:.1f}"
