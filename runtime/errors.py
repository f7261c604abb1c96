"""What can go wrong: one root, eight kinds, and the exit code each gives to a command.

A message is one line: what, expected, got, what to do.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BundleError",
    "CoverError",
    "DataError",
    "EngineError",
    "ExportError",
    "HidemiaError",
    "ImageError",
    "ReplyError",
    "TransportError",
]


class HidemiaError(Exception):
    """Root of everything this package raises on purpose.

    Args:
        message: One line: what, expected, got, what to do. What does not print is escaped: a name or header from
            outside may hold line ends, or commands for a terminal.
        exit_code: 1 where the work failed, 2 where the call was wrong; the kind's own when None.
    """

    default_exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in message))
        self.exit_code = self.default_exit_code if exit_code is None else exit_code


class ImageError(HidemiaError):
    """An input image cannot be read or does not suit."""

    default_exit_code = 2


class DataError(HidemiaError):
    """A folder of data is missing, empty or not laid out as expected."""

    default_exit_code = 2


class BundleError(HidemiaError):
    """A bundle is missing, damaged, of another role or of a newer schema."""


class EngineError(HidemiaError):
    """The inference engine is absent, is not the one asked for, or failed."""


class ReplyError(HidemiaError):
    """A reply must give no result: equal to what was sent, too far from it, or of another model."""


class CoverError(HidemiaError):
    """No cover may be used: none is left, or the one given already carries another secret."""


class TransportError(HidemiaError):
    """A photo could not be carried to the server and back, or must not be."""


class ExportError(HidemiaError):
    """A network could not be turned into a bundle that passes its checks."""
