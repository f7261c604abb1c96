"""Reading a file that must lie in a folder: no link leads out of it, no pipe blocks, no size surprises."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

from hidemia.runtime.errors import BundleError

__all__ = ["check_writable", "read", "size"]


def check_writable(folder: Path) -> None:
    """See before the work that a folder can be made and written; it is made if it is not there.

    Raises:
        BundleError: It cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # the mode alone does not tell of read-only and full disks
            pass
    except OSError as error:
        raise BundleError(
            f"{folder}: expected a folder that this account can write, got {error.strerror}; "
            "give it the right to, or name another folder"
        ) from None


def size(folder: Path, file: Path) -> int:
    """Size in bytes of a regular file in a folder; links inside the folder are followed.

    Raises:
        FileNotFoundError, NotADirectoryError: There is none.
        BundleError: It is no regular file, cannot be reached, or is a link out of the folder.
    """
    try:
        real = file.resolve(strict=True)
        state = real.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, names that no system takes
        raise BundleError(
            f"{file}: expected a readable file, got {getattr(error, 'strerror', error)}; check its permissions"
        ) from None
    if not real.is_relative_to(folder.resolve()):
        raise BundleError(f"{file}: expected a file inside {folder}, got a link to {real}; copy the file itself")
    if not stat.S_ISREG(state.st_mode):  # a pipe would never end
        raise BundleError(f"{file}: expected a file, got something else of that name; install the bundle again")
    return state.st_size


def read(folder: Path, file: Path, max_bytes: int) -> bytes:
    """Read at most `max_bytes` + 1, so that a file swapped for a huge one costs no memory.

    Raises:
        FileNotFoundError, NotADirectoryError: There is none.
        BundleError: As `size`, or it must not be read.
    """
    size(folder, file)
    try:
        with file.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise BundleError(f"{file}: expected a readable file, got {error.strerror}; check its permissions") from None
