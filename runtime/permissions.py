"""Who else on this machine can read a bundle, or write what becomes code: on POSIX; elsewhere nothing is judged."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from hidemia.runtime.errors import BundleError

__all__ = ["check_unshared", "check_unwritable", "shared", "writable"]

# (search the folder, read the file) of the group, and of everybody else.
_READERS = ((stat.S_IXGRP, stat.S_IRGRP), (stat.S_IXOTH, stat.S_IROTH))
_WRITERS = stat.S_IWGRP | stat.S_IWOTH


def shared(folder: Path, files: Iterable[Path]) -> Path | None:
    """The first of a folder's files that its group or others can read; None when there is none.

    A file that all may read is safe in a folder that only its owner may search.
    """
    if os.name != "posix":
        return None
    around = folder.stat().st_mode
    for file in files:
        mode = file.stat().st_mode
        if any(around & search and mode & read for search, read in _READERS):
            return file
    return None


def writable(paths: Iterable[Path]) -> tuple[Path, str] | None:
    """The first path that somebody besides this account and root could change, with the reason; None without one."""
    if os.name != "posix":
        return None
    for path in paths:
        state = path.stat()
        if state.st_uid not in {os.geteuid(), 0}:
            return path, f"one that belongs to user {state.st_uid}"
        if state.st_mode & _WRITERS:
            return path, f"mode {stat.S_IMODE(state.st_mode):04o}"
    return None


def check_unshared(folder: Path, files: Iterable[Path], *, opens: str) -> None:
    """Refuse what opens private photos where other accounts can read it.

    Args:
        folder: The bundle's.
        files: Those that hold it.
        opens: What whoever reads one of them can do, for the error.

    Raises:
        BundleError: The group or others can read one of the files.
    """
    file = shared(folder, files)
    if file is not None:
        raise BundleError(
            f"{file}: expected a file that only its owner can read, since whoever reads it {opens}, got mode "
            f"{stat.S_IMODE(file.stat().st_mode):04o}; chmod -R go= {folder}, or pass --shared-ok (shared_ok=True)"
        )


def check_unwritable(paths: Iterable[Path]) -> None:
    """Refuse plans that another account could have changed: a plan is code.

    Args:
        paths: The plan, its receipt, and the folders they lie in.

    Raises:
        BundleError: One belongs to neither this account nor root, or its group or others can write it.
    """
    found = writable(paths)
    if found is not None:
        path, got = found
        raise BundleError(
            f"{path}: expected only its owner to be able to write it, since a plan is code, got {got}; "
            f"chown it to this account and chmod go-w {path}"
        )
