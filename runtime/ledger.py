"""Which cover carries which secret: recorded for ever, before the stego exists, and safe across processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import CoverError

__all__ = ["Ledger", "default_path", "pixels_key"]

_WAIT_S = 30.0
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS cover (pixels BLOB PRIMARY KEY, binding BLOB NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS cover_binding ON cover (binding)",
    "CREATE TABLE IF NOT EXISTS spent (photo BLOB PRIMARY KEY) WITHOUT ROWID",
    f"PRAGMA user_version = {_VERSION}",
)


def default_path() -> Path:
    """`$XDG_STATE_HOME/hidemia/covers.sqlite`, or the same under `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return home / "hidemia" / "covers.sqlite"


class Ledger:
    """A durable record in SQLite. It holds hashes alone, no pixels and no names.

    Args:
        path: The database; made, with its folder, on first use. The user's own when None.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = default_path() if path is None else Path(path)

    def check(self) -> None:
        """Read the whole ledger, about 1 s for 100,000 covers: a damaged one could call a used cover unused.

        Raises:
            CoverError: It is damaged. One that does not exist yet is not.
        """
        if not self.path.exists():
            return
        with self._transaction() as database:
            # Each row is in the table and in its index, so that a single flipped bit is found.
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(" ".join(found.split()))

    def bind(self, cover: Image, binding: bytes) -> None:
        """Bind a cover to a secret for ever. Binding the same two again is allowed: it is a retry.

        Raises:
            CoverError: The cover carries another secret, or the ledger cannot be written.
        """
        if not self.try_bind(pixels_key(cover), binding):
            raise CoverError(
                "cover: expected one that was never used, got one that already carries another secret; "
                "take another cover"
            )

    def try_bind(self, pixels: bytes, binding: bytes) -> bool:
        """Bind and return whether the cover is now this binding's, atomically among all processes."""
        with self._transaction() as database:
            database.execute("INSERT INTO cover VALUES (?, ?) ON CONFLICT DO NOTHING", (pixels, binding))
            (owner,) = database.execute("SELECT binding FROM cover WHERE pixels = ?", (pixels,)).fetchone()
        return bool(owner == binding)

    def bound_to(self, binding: bytes) -> set[bytes]:
        """Keys of the covers that carry a binding's secret already."""
        with self._transaction() as database:
            return {row[0] for row in database.execute("SELECT pixels FROM cover WHERE binding = ?", (binding,))}

    def used(self, keys: list[bytes]) -> set[bytes]:
        """Those of `keys` whose cover carries a secret."""
        with self._transaction() as database:
            found = (database.execute("SELECT pixels FROM cover WHERE pixels = ?", (key,)).fetchone() for key in keys)
            return {row[0] for row in found if row}

    def is_spent(self, photo: bytes) -> bool:
        """Whether nothing is left of a photo; spares reading it again."""
        with self._transaction() as database:
            return database.execute("SELECT 1 FROM spent WHERE photo = ?", (photo,)).fetchone() is not None

    def mark_spent(self, photo: bytes) -> None:
        """Note that nothing is left of a photo, nor ever will be."""
        with self._transaction() as database:
            database.execute("INSERT INTO spent VALUES (?) ON CONFLICT DO NOTHING", (photo,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # A connection each time: no lock of ours, safe after a fork, and less than a millisecond.
        try:
            _make_folder(self.path.parent)
            self.path.touch(mode=0o600, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            with contextlib.closing(connection) as database:
                # A bound cover stays bound when the power fails: data, journal and folder reach the disk.
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN IMMEDIATE")
                self._check_version(database)
                yield database
                database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise CoverError(
                f"{self.path}: expected a ledger of covers that can be written, got: {error}; {_advice(error)}"
            ) from error

    def _check_version(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise CoverError(
                f"{self.path}: expected a ledger of version {_VERSION} or older, got {version}; update hidemia"
            )
        if version < _VERSION:  # a new one, or of before it had a version
            for statement in _SCHEMA:
                database.execute(statement)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it for its owner alone, so that each survives a power cut."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and need not be
        parent = os.open(folder.parent, os.O_RDONLY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)


def _advice(error: OSError | sqlite3.Error) -> str:
    if "locked" in str(error):
        return "end the process that holds it, never delete it"
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return "nobody knows which covers are used: keep it aside and begin a new one with new photos"
    return "free the disk or fix its permissions, never delete it"


def pixels_key(cover: Image) -> bytes:
    """SHA-256 of a cover's pixels, which its shape is part of."""
    return hashlib.sha256(repr(cover.shape).encode() + cover.tobytes()).digest()
