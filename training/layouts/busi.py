"""BUSI, breast ultrasound, as ``Dataset_BUSI_with_GT``: no official split."""

from __future__ import annotations

from pathlib import Path

from hidemia.training.errors import DatasetError
from hidemia.training.reading import SEVERAL, Row, images_in


def busi(folder: Path) -> list[Row]:
    """Images with a lesion and their masks; those in ``normal`` have none and are left out.

    ``benign (1)_mask.png`` may be followed by ``benign (1)_mask_1.png`` and so on: one mask a lesion.

    Raises:
        DatasetError: an image without a mask.
    """
    nested = folder / "Dataset_BUSI_with_GT"
    root = nested if nested.is_dir() else folder
    rows: list[Row] = []
    for label in ("benign", "malignant"):
        files = images_in(root / label)
        masks = [path for path in files if "_mask" in path.stem]
        if not masks:
            return []
        for path in files:
            if path in masks:
                continue
            own = [mask for mask in masks if mask.stem.split("_mask")[0] == path.stem]
            if not own:
                raise DatasetError(f"{path}: expected its mask {path.stem}_mask.png, found none; copy it there")
            image = path.relative_to(folder).as_posix()
            names = SEVERAL.join(mask.relative_to(folder).as_posix() for mask in own)
            rows.append({"image": image, "mask": names, "label": label, "group": path.stem})
    return rows
