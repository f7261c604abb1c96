"""What was measured already: a file for each part, taken again only for the same machine, code and bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Parts:
    """The parts of one report.

    Args:
        folder: Where they lie, a JSON file each.
        key: Of all that a measurement depends on. A part with another key is measured again.
        reuse: Whether parts that lie there already count.
    """

    def __init__(self, folder: Path, key: str, *, reuse: bool) -> None:
        self.folder, self.key, self.reuse = folder, key, reuse
        self.reused: list[str] = []

    def get(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """A part that lies there, or one that is made now and laid there.

        Args:
            name: Of its file.
            kind: Its type, for msgspec.
            make: Measures it.
        """
        file = self.folder / f"{name}.json"
        if self.reuse and (found := self._read(file, kind)) is not None:
            self.reused.append(name)
            return found[0]
        made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        partial.write_bytes(msgspec.json.encode({"key": self.key, "part": made}))
        partial.replace(file)
        return made

    def _read(self, file: Path, kind: type[T]) -> tuple[T] | None:
        """The part in a file; None where there is none, a damaged one, or one of another key."""
        try:
            found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
            if found["key"] != self.key:
                return None
            return (msgspec.convert(found["part"], kind),)
        except (OSError, msgspec.MsgspecError, KeyError, TypeError):
            return None


def key(*facts: object) -> str:
    """One hash of facts: bytes as they are, others by their text."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(hashlib.sha256(fact if isinstance(fact, bytes) else str(fact).encode()).digest())
    return digest.hexdigest()


def sources_sha256(folders: Iterable[Path]) -> str:
    """One hash of every Python file below some folders: the version of the code, also where there is no git."""
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{file.relative_to(folder)}".encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
