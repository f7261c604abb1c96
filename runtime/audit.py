"""The audit log: one JSON line for every photo that was received, on the disk before its reply leaves."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["AuditLog", "utc"]

_sync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # macOS has the second alone


class AuditLog:
    """An append-only file of JSON lines, on POSIX systems. Safe across threads, and with several processes on one file.

    A line is one `write` to a file opened with O_APPEND, so lines never mix, and `fdatasync` follows it: a line
    that `append` returned from survives a power cut. A line torn by a full disk stays alone on its line, for the
    next one begins with a newline; readers skip what is not JSON.

    Args:
        path: The file, made with mode 0600 when it is not there.
        manifest_sha256: Hash of the manifest in use, part of every line.

    Attributes:
        is_failing: Whether the last line could not be written. `reopen` finds out whether the next one can.

    Raises:
        OSError: Not a regular file, or it cannot be written.
    """

    def __init__(self, path: str | Path, manifest_sha256: str) -> None:
        self.path = Path(path)
        self.manifest_sha256 = manifest_sha256
        self.is_failing = False
        self._lock = threading.Lock()
        self._handle = self._open()
        try:
            self._torn = self._ends_inside_a_line()
            self.append({"event": "opened"})
        except OSError:
            self.close()
            raise

    def append(self, entry: dict[str, Any]) -> None:
        """Write one line and have the disk confirm it.

        Args:
            entry: What happened; time and manifest are added.

        Raises:
            OSError: The disk is full or gone; the line is not there, or not surely.
        """
        line = msgspec.json.encode({"time": utc(), "manifest_sha256": self.manifest_sha256, **entry}) + b"\n"
        try:
            with self._lock:
                self._write(line)
            _sync(self._handle)
        except OSError:
            self.is_failing = True
            raise
        self.is_failing = False

    def reopen(self) -> None:
        """Go on in the file that has the name now, after a rotation or to see whether the disk is well again.

        No line is lost meanwhile: until the new file is open, lines go to the old one.

        Raises:
            OSError: The new file cannot be opened or written; the old one stays in use.
        """
        fresh = self._open()
        try:
            with self._lock:
                # The handle keeps its number: another thread may be about to use it.
                os.dup2(fresh, self._handle, inheritable=False)
                self._torn = self._ends_inside_a_line()
        finally:
            os.close(fresh)
        self.append({"event": "opened"})

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _open(self) -> int:
        # O_NONBLOCK: a pipe without a reader must be refused, not waited for.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        handle = os.open(self.path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{self.path} is no regular file")
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # a new file's name must survive a power cut too
            finally:
                os.close(folder)
        except OSError:
            os.close(handle)
            raise
        return handle

    def _ends_inside_a_line(self) -> bool:
        size = os.fstat(self._handle).st_size
        return size > 0 and os.pread(self._handle, 1, size - 1) != b"\n"

    def _write(self, line: bytes) -> None:
        data = b"\n" + line if self._torn else line
        written = os.write(self._handle, data)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(f"{self.path}: only {written} of {len(data)} bytes could be written")


def utc() -> str:
    """Now, as `2031-05-07T12:34:56.789Z`."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
