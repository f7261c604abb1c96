"""Bundles get their names once they are whole: a cut, a full disk or a lost power leaves old ones, new ones or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hidemia.runtime.errors import ExportError


@contextmanager
def published(out: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """A folder beside ``out`` to fill with the folders ``names``, which then replace those of ``out``.

    One export at a time may write into ``out``; what an interrupted one left beside it is removed first.

    Raises:
        ExportError: the disk is full, or the folder cannot be written.
    """
    staging = out.parent / f".{out.name}.partial"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if staging.exists():
            shutil.rmtree(staging)
        staging.mkdir()
        try:
            yield staging
            _replace(staging, out, names)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"{out}: expected to write bundles there, got {error.strerror or error} ({error.filename}); nothing was "
            "changed: free space, mend the permissions or name another folder"
        ) from error


def write(file: Path, data: bytes) -> None:
    """Write a file and see it onto the disk, so that the name which follows never stands for nothing."""
    try:
        with file.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:  # which names no file when it comes from the disk
        raise OSError(error.errno, error.strerror, str(file)) from error


def _replace(staging: Path, out: Path, names: tuple[str, ...]) -> None:
    """Put the new folders in place; a cut in between leaves a bundle that is whole, or none."""
    out.mkdir(exist_ok=True)
    for name in names:
        target, old = out / name, out / f".{name}.old"
        if old.exists():
            shutil.rmtree(old)
        if target.exists():
            target.rename(old)
        (staging / name).rename(target)
        shutil.rmtree(old, ignore_errors=True)
