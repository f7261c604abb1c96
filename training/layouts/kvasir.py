"""Kvasir-SEG, polyps in colonoscopy: no official split."""

from __future__ import annotations

import re
from pathlib import Path

from hidemia.training.layouts.pairs import pairs
from hidemia.training.reading import Row, images_in

NAME = re.compile(r"c[jk][0-9a-z]{23}")  # else any folder of images and masks would pass for this one


def kvasir(folder: Path) -> list[Row]:
    """Every image of ``images`` with the mask of the same name in ``masks``.

    Raises:
        DatasetError: an image without a mask.
    """
    nested = folder / "Kvasir-SEG"
    root = nested if nested.is_dir() else folder
    if not all(NAME.fullmatch(path.stem) for path in images_in(root / "images")):
        return []
    return pairs(folder, root, split="")
