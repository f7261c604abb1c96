"""Kvasir-SEG, polyps in colonoscopy: no official split."""

from __future__ import annotations

from pathlib import Path

from hidemia.training.layouts.pairs import pairs
from hidemia.training.reading import Row


def kvasir(folder: Path) -> list[Row]:
    """Every image of ``images`` with the mask of the same name in ``masks``.

    Raises:
        DatasetError: an image without a mask.
    """
    nested = folder / "Kvasir-SEG"
    return pairs(folder, nested if nested.is_dir() else folder, split="")
