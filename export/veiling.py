"""The key of a pair's veil: made once, kept beside private weights, and the same in every export of them."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from hidemia.runtime.errors import ExportError
from hidemia.runtime.veil import Veil

FILE_NAME = "veil.key"


def pair_veil(weights: Path, reach: int | None, pair_id: str, *, public_key: bool) -> Veil | None:
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
        return Veil(reach=reach, key=hashlib.sha256(b"hidemia public veil\0" + pair_id.encode()).hexdigest())
    return Veil(reach=reach, key=kept_key(weights / FILE_NAME))


def kept_key(file: Path) -> str:
    """The key in a file that only its owner can read, which is made where there is none.

    Raises:
        ExportError: it cannot be read or written, or is none.
    """
    try:
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as made:
                made.write(secrets.token_hex(32) + "\n")
        key = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "no text"
        raise ExportError(
            f"{file}: expected the key of the veil, or a folder to make one in, got: {reason}; mend its permissions"
        ) from error
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ExportError(
            f"{file}: expected 64 hexadecimal digits in small letters, got {len(key)} characters; "
            "put the key back, or remove the file for a new one"
        )
    return key
