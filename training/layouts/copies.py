"""Images that are nearly the same, brought into one group."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.training.reading import Row, read_image

THUMBNAIL_PX = 48


def join_copies(rows: list[Row], folder: Path, alike: float) -> list[Row]:
    """Joins groups whose grey 48-pixel thumbnails correlate above ``alike``: frames of one patient often do.

    Raises:
        DatasetError: an image cannot be read.
    """
    thumbnails = np.stack([_thumbnail(folder / row["image"]) for row in rows])
    names = [row["group"] for row in rows]
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for i, row in enumerate(thumbnails):
        for j in np.flatnonzero(thumbnails[:i] @ row > alike):
            first, second = sorted((root(names[i]), root(names[j])))
            parent[second] = first
    return [row | {"group": root(row["group"])} for row in rows]


def _thumbnail(path: Path) -> NDArray[np.float32]:
    grey = read_image(path, cv2.IMREAD_GRAYSCALE)
    small = cv2.resize(grey, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
