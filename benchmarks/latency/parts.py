"""What was measured already: a file for each part, taken again only for the same machine, code and bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

T = TypeVar("T")


class _Part(Struct):
    """A part's file.

    Attributes:
        date: When it was measured.
        seconds: How long that took.
        part: The part itself, whose type the reader knows.
    """

    key: str
    date: str
    seconds: float
    part: Raw


class Parts:
    """The parts of one report.

    Args:
        folder: Where they lie, a JSON file each.
        key: Of all that a measurement depends on. A part with another key is measured again.
        reuse: Whether parts that lie there already count.

    Attributes:
        reused: Parts that were taken as they lay there.
        seconds: That all parts took, whenever they were measured.
        date: Of the last one.
    """

    def __init__(self, folder: Path, key: str, *, reuse: bool) -> None:
        self.folder, self.key, self.reuse = folder, key, reuse
        self.reused: list[str] = []
        self.seconds, self.date = 0.0, ""

    def get(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """A part that lies there, or one that is made now and laid there.

        Args:
            name: Of its file.
            kind: Its type, for msgspec.
            make: Measures it.
        """
        file = self.folder / f"{name}.json"
        found = self._read(file, kind) if self.reuse else None
        if found is not None:
            self.reused.append(name)
            part, value = found
        else:
            start = perf_counter()
            value = make()
            date, seconds = datetime.now(timezone.utc).date().isoformat(), round(perf_counter() - start, 1)
            part = _Part(self.key, date, seconds, Raw(msgspec.json.encode(value)))
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_name(f".{file.name}.partial")
            partial.write_bytes(msgspec.json.encode(part))
            partial.replace(file)
        self.seconds, self.date = self.seconds + part.seconds, max(self.date, part.date)
        return value

    def _read(self, file: Path, kind: type[T]) -> tuple[_Part, T] | None:
        """The part in a file; None where there is none, a damaged one, or one of another key."""
        try:
            part = msgspec.json.decode(file.read_bytes(), type=_Part)
            return (part, msgspec.json.decode(part.part, type=kind)) if part.key == self.key else None
        except (OSError, msgspec.MsgspecError):
            return None


def key(*facts: object) -> str:
    """One hash of facts: bytes as they are, others by their text."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(hashlib.sha256(fact if isinstance(fact, bytes) else str(fact).encode()).digest())
    return digest.hexdigest()
