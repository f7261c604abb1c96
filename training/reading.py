"""Image files of a data set, read or refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.training.errors import DatasetError

Row = dict[str, str]
"""A line of ``index.csv``: image, mask, label, split, group; paths relative to the data set's folder."""

SEVERAL = "|"  # between the masks of an image that has more than one; they are merged when read
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"}


def images_in(folder: Path) -> list[Path]:
    """The image files that lie in a folder, sorted by name; none when there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _is_image(path))


def images_of_class(folder: Path) -> list[Path]:
    """`images_in`, of which there must be some. Raises DatasetError: there is none."""
    images = images_in(folder)
    if not images:
        raise DatasetError(f"{folder}: expected images of this class, found none; copy them there")
    return images


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and in the folders in it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if _is_image(path))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")  # macOS packs ._shadows beside images


def read_image(path: Path, flag: int) -> NDArray[np.uint8]:
    """One image, (H, W) or (H, W, 3) as OpenCV's flag says.

    Raises:
        DatasetError: it is missing or cannot be decoded.
    """
    data = path.read_bytes() if path.is_file() else None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    if image is None:
        state = "missing" if data is None else "not an image that can be decoded"
        raise DatasetError(f"{path}: {state}; repair the file or take its row out of index.csv")
    return image


def read_mask(folder: Path, row: Row) -> NDArray[np.uint8]:
    """The mask of a row, (H, W), 0..255; where it names several files, their union.

    Raises:
        DatasetError: no mask is named, one is missing or unreadable, or two differ in size.
    """
    if not row.get("mask"):
        raise DatasetError(f"{folder / row['image']}: expected a mask in index.csv, got none; add it there")
    first, *more = row["mask"].split(SEVERAL)
    mask = read_image(folder / first, cv2.IMREAD_GRAYSCALE)
    for name in more:
        other = read_image(folder / name, cv2.IMREAD_GRAYSCALE)
        if other.shape != mask.shape:
            raise DatasetError(
                f"{folder / name}: expected {mask.shape[1]}x{mask.shape[0]} px like {first}, "
                f"got {other.shape[1]}x{other.shape[0]}; repair the file"
            )
        mask = np.maximum(mask, other)
    return mask
