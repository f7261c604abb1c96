"""A folder of private photos as covers, each used once."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hidemia.runtime import photo
from hidemia.runtime.arrays import MIN_SIDE_PX, Image
from hidemia.runtime.errors import CoverError, ImageError
from hidemia.runtime.ledger import Ledger, pixels_key

__all__ = ["CoverPool", "is_usable", "tiles"]

logger = logging.getLogger(__name__)

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"}

# A flat area shows what is hidden in it, and a clipped one cannot carry both signs of a change.
_MIN_DEVIATION = 6.0
_MAX_CLIPPED_SHARE = 0.25

_RECENT = 16


class CoverPool:
    """Square tiles cut from a folder's photos, each bound to one secret for ever.

    Args:
        folder: Private photos, searched with its subfolders: PNG, JPEG, BMP or TIFF. Never published ones.
        ledger: The record of what was used, or its path; the user's own when None.
        warn_below: Log one warning when fewer tiles than this are left.

    Raises:
        CoverError: No such folder, no photo in it, or a damaged ledger.
    """

    def __init__(self, folder: str | Path, ledger: Ledger | str | Path | None = None, *, warn_below: int = 16) -> None:
        self.folder = Path(folder)
        self.ledger = ledger if isinstance(ledger, Ledger) else Ledger(ledger)
        self.warn_below = warn_below
        if not self.folder.is_dir():
            raise CoverError(f"{folder}: expected a folder of photos, got none; check the path", exit_code=2)
        self._photos = sorted(file for file in self.folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
        if not self._photos:
            raise CoverError(f"{folder}: expected photos as covers, got none; add some", exit_code=2)
        self.ledger.check()
        self._lock = threading.Lock()
        self._shelves: dict[int, _Shelf] = {}
        self._warned: set[int] = set()
        self._unreadable: set[Path] = set()
        # A frozen frame is sent again and again: its tile must not cost a search of the folder each time.
        self._recent: deque[tuple[bytes, int, Image]] = deque(maxlen=_RECENT)

    def take(self, binding: bytes, size_px: int) -> Image:
        """Take a tile that was never used, and bind it before returning it.

        Args:
            binding: What the tile will carry; see `trip.binding`. One that has a tile gets the same again.
            size_px: The tile's side.

        Returns:
            uint8 (size_px, size_px, 3), RGB.

        Raises:
            CoverError: No tile is left, or the ledger cannot be written.
        """
        with self._lock:
            for past, past_size_px, tile in self._recent:
                if (past, past_size_px) == (binding, size_px):
                    return tile
            shelf = self._shelves.setdefault(size_px, _Shelf(self._photos, self._unreadable, self.ledger, size_px))
            again = shelf.find(self.ledger.bound_to(binding))
            if again is not None:
                self._recent.append((binding, size_px, again))
                return again
            shelf.fill(self.warn_below + 1)
            while shelf.ready:
                key, tile = shelf.ready.popleft()
                # Another process may have taken it since it was put on the shelf.
                if self.ledger.try_bind(key, binding):
                    self._recent.append((binding, size_px, tile))
                    self._warn(shelf, size_px)
                    return tile
                shelf.fill(self.warn_below + 1)
        raise CoverError(
            f"{self.folder}: expected an unused tile of {size_px}x{size_px} px, got none left of "
            f"{len(self._photos)} photos; add private photos"
        )

    def left(self, size_px: int, *, enough: int | None = None) -> int:
        """Count the tiles that were never used. It reads photos, so it takes its time.

        Args:
            size_px: The tile's side.
            enough: Stop counting there; a pool of many photos is then not read to its end.

        Returns:
            The number of unused tiles, at most `enough`. Another process may take some of them meanwhile.

        Raises:
            CoverError: The ledger cannot be read.
        """
        shelf = _Shelf(self._photos, self._unreadable, self.ledger, size_px)
        keys: set[bytes] = set()  # a copy of a photo adds nothing
        while enough is None or len(keys) < enough:
            shelf.ready.clear()  # counted, not kept
            shelf.fill(1)
            if not shelf.ready:
                return len(keys)
            keys.update(key for key, _ in shelf.ready)
        return enough

    def require(self, count: int, size_px: int) -> None:
        """See that so many tiles are left.

        Raises:
            CoverError: Fewer are, or the ledger cannot be read.
        """
        left = self.left(size_px, enough=count)
        if left < count:
            raise CoverError(
                f"{self.folder}: expected {count} unused tiles of {size_px}x{size_px} px, got {left} in "
                f"{len(self._photos)} photos; add private photos or ask for fewer frames"
            )

    def _warn(self, shelf: _Shelf, size_px: int) -> None:
        """Say once that few are left; when none is, `take` says so."""
        shelf.fill(self.warn_below)
        if len(shelf.ready) < self.warn_below and size_px not in self._warned:
            self._warned.add(size_px)
            logger.warning(
                "%s: %d covers of %dx%d px are left; add photos",
                self.folder,
                len(shelf.ready),
                size_px,
                size_px,
            )


class _Shelf:
    """Tiles of one size, cut photo by photo as they are needed."""

    def __init__(self, photos: list[Path], unreadable: set[Path], ledger: Ledger, size_px: int) -> None:
        self.ready: deque[tuple[bytes, Image]] = deque()
        self._photos = photos
        self._unreadable = unreadable
        self._unread = deque(photos)
        self._ledger = ledger
        self._size_px = size_px

    def fill(self, count: int) -> None:
        """Cut photos until `count` tiles are ready or no photo is left."""
        while len(self.ready) < count and self._unread:
            file = self._unread.popleft()
            name = self._name(file)
            if name is None or self._ledger.is_spent(name):
                continue
            cut = self._cut(file)
            if cut is None:
                continue
            used = self._ledger.used(list(cut))
            free = [(key, tile) for key, tile in cut.items() if key not in used]
            if not free:
                self._ledger.mark_spent(name)
            # By key, which is as good as shuffled: photos sent one after the other must not make up a mosaic.
            self.ready.extend(sorted(free, key=lambda pair: pair[0]))

    def find(self, keys: set[bytes]) -> Image | None:
        """The tile with one of these keys; looks through every photo, which only a retry has to do."""
        if not keys:
            return None
        for file in self._photos:
            cut = self._cut(file) or {}
            for key in keys & cut.keys():
                return cut[key]
        return None

    def _cut(self, file: Path) -> dict[bytes, Image] | None:
        try:
            image = photo.load(file)
        except ImageError as error:
            if file not in self._unreadable:  # once is enough to say it
                self._unreadable.add(file)
                logger.warning("left out of the covers: %s", error)
            return None
        return {pixels_key(tile): tile for tile in tiles(image, self._size_px) if is_usable(tile)}

    def _name(self, file: Path) -> bytes | None:
        try:
            status = file.stat()
        except OSError:
            return None  # removed since the folder was listed
        text = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{self._size_px}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def tiles(image: Image, size_px: int) -> Iterator[Image]:
    """Cut an image into squares that do not overlap, around its centre, never scaled.

    Args:
        image: uint8 (H, W, 3), RGB.
        size_px: Their side.

    Yields:
        uint8 (size_px, size_px, 3), row by row; none when the image is smaller.
    """
    if size_px < MIN_SIDE_PX:
        raise CoverError(f"tiles: expected at least {MIN_SIDE_PX} px, got {size_px}; ask for larger ones", exit_code=2)
    height, width = image.shape[:2]
    for top in range(height % size_px // 2, height - size_px + 1, size_px):
        for left in range(width % size_px // 2, width - size_px + 1, size_px):
            yield np.ascontiguousarray(image[top : top + size_px, left : left + size_px])


def is_usable(tile: Image) -> bool:
    """Whether a tile can carry a secret: neither flat nor mostly at the ends of the range."""
    grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
    clipped = np.count_nonzero((tile <= 1) | (tile >= 254)) / tile.size
    return bool(grey.std() >= _MIN_DEVIATION and clipped <= _MAX_CLIPPED_SHARE)
