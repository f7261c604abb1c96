"""The key of a pair's veil: made once, kept beside private weights, and the same in every export of them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hidemia.runtime.errors import ExportError
from hidemia.runtime.veil import Veil

if TYPE_CHECKING:
    from hidemia.training.channel import Reach

FILE_NAME = "veil.key"


def pair_veil(weights: Path, reach: Reach | None, pair_id: str, *, public_key: bool) -> Veil | None:
    """The veil of a pair; None where its replies travel as they are.

    Args:
        weights: the model's folder, where the key of private weights lies; it is made if there is none. Without it, and
            with both bundles exported anew, a pair has a new one.
        reach: as the model was trained.
        pair_id: whose hash is the key of public weights: anyone has them, and it hides nothing.
        public_key: whether the weights are published.

    Raises:
        ExportError: the key cannot be read or written, or is none.
    """
    if reach is None:
        return None
    if public_key:
        key = hashlib.sha256(b"hidemia public veil\0" + pair_id.encode()).hexdigest()
    else:
        key = kept_key(weights / FILE_NAME)
    return Veil(reach=reach.levels, colours=reach.colours, key=key)


def kept_key(file: Path) -> str:
    """The key in a file that only its owner can read, which is made where there is none.

    Raises:
        ExportError: it cannot be read or written, others can read it, or it is none.
    """
    try:
        if not file.exists():
            _make(file)
        mode = stat.S_IMODE(file.stat().st_mode)
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no text"
        raise ExportError(
            f"{file}: expected the key of the veil, or a folder to make one in, got: {reason}; mend its permissions"
        ) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ExportError(
            f"{file}: expected a key that only its owner can read, got mode {mode:04o}; chmod go= {file}, or remove it "
            "for a new one if somebody may have read it"
        )
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ExportError(
            f"{file}: expected 64 hexadecimal digits in small letters, got {len(key)} characters; "
            "put the key back, or remove the file for a new one"
        )
    return key


def _make(file: Path) -> None:
    """Write a new key whole or not at all; of two exports at once, the first to be done counts."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # which its owner alone can read
    try:
        with os.fdopen(handle, "w", encoding="ascii") as made:
            made.write(secrets.token_hex(32) + "\n")
            made.flush()
            os.fsync(made.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()
