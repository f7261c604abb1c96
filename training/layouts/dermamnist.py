"""DermaMNIST, skin lesions in seven classes, from MedMNIST's ``.npz``: official train, val and test."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np

from hidemia.training.errors import DatasetError
from hidemia.training.reading import Row

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
SMALLEST_PX = 32  # what the runtime takes; 28-pixel images are doubled, pixel by pixel


def dermamnist(folder: Path) -> list[Row]:
    """Unpacks the images beside the archive, as PNG, and lists them. The largest archive there is wins.

    Raises:
        DatasetError: the archive is damaged, lacks an array or cannot be unpacked.
    """
    archives = sorted(folder.glob("dermamnist*.npz"), key=_side)
    if not archives:
        return []
    archive = archives[-1]
    rows: list[Row] = []
    try:
        with archive.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            for split in ("train", "val", "test"):
                rows += _unpack(folder, split, arrays[f"{split}_images"], arrays[f"{split}_labels"].ravel())
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        line = " ".join(str(error).split())
        raise DatasetError(f"{archive}: expected DermaMNIST's arrays, got {line}; download it again") from error
    except OSError as error:
        raise DatasetError(f"{folder}: {error.strerror}; the images are unpacked there, once") from error
    return rows


def _side(archive: Path) -> int:
    found = re.search(r"_(\d+)\.npz$", archive.name)
    return int(found[1]) if found else 28


def _unpack(folder: Path, split: str, images: np.ndarray, labels: np.ndarray) -> list[Row]:
    target = folder / "images" / split
    target.mkdir(parents=True, exist_ok=True)
    times = -(-SMALLEST_PX // images.shape[1])
    rows: list[Row] = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"images/{split}/{number:05d}.png"
        large = image.repeat(times, axis=0).repeat(times, axis=1)
        (folder / name).write_bytes(cv2.imencode(".png", large[:, :, ::-1])[1].tobytes())
        rows.append({"image": name, "mask": "", "label": CLASSES[int(label)], "split": split, "group": name})
    return rows
