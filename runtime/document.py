"""Reading a JSON document of ours: its schema version first, then every key once, then the types."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from hidemia.runtime.errors import BundleError

__all__ = ["decode", "encode"]

T = TypeVar("T", bound=Struct)


class _Version(Struct):
    schema_version: int


def decode(data: bytes, kind: type[T], *, schema_version: int, name: str, mend: str) -> T:
    """Parse and check a document.

    Args:
        data: The JSON text. Keys that are not known are allowed, a key that stands twice is not: readers would
            differ about which one counts.
        kind: What it must be.
        schema_version: The only one that is read.
        name: Its path in errors.
        mend: What to do about a document that is damaged or too old.

    Raises:
        BundleError: Not JSON, a key missing, doubled or of another type, or written for another schema.
    """
    what = f"not a valid {kind.__name__.lower()}"
    try:
        got = msgspec.json.decode(data, type=_Version).schema_version
        if got != schema_version:
            way = "update hidemia" if got > schema_version else mend
            raise BundleError(f"{name}: expected schema version {schema_version}, got {got}; {way}")
        json.loads(data, object_pairs_hook=_once)
        return msgspec.json.decode(data, type=kind)
    except RecursionError:
        raise BundleError(f"{name}: {what}: nested too deeply; {mend}") from None
    except (msgspec.DecodeError, ValueError) as error:  # the second also for what is not UTF-8
        raise BundleError(f"{name}: {what}: {error}; {mend}") from None


def encode(document: Struct) -> bytes:
    """Write a document canonically: keys sorted, two spaces, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"Expected every key once, got `{key}` twice")
        seen.add(key)
