"""ChestCT, lungs in four classes, split into train, valid and test.

The official split leaks: 46 of its 54 normal test images are also in its training set. Figures on it flatter.
"""

from __future__ import annotations

import re
from pathlib import Path

from hidemia.training.reading import Row, images_of_class

SPLITS = {"train": "train", "valid": "val", "test": "test"}
CLASSES = ("adenocarcinoma", "large_cell_carcinoma", "normal", "squamous_cell_carcinoma")


def chestct(folder: Path) -> list[Row]:
    """Folders like ``train/large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa``, and shorter names in ``test``.

    Raises:
        DatasetError: a class without images.
    """
    root = folder / "Data" if (folder / "Data").is_dir() else folder
    rows: list[Row] = []
    for name, split in SPLITS.items():
        for directory in sorted(path for path in (root / name).glob("*") if path.is_dir()):
            label = _label(directory.name)
            if label is None:
                continue
            for path in images_of_class(directory):
                image = path.relative_to(folder).as_posix()
                rows.append({"image": image, "mask": "", "label": label, "split": split, "group": image})
    return rows if {row["split"] for row in rows} == set(SPLITS.values()) else []


def _label(name: str) -> str | None:
    plain = re.sub(r"[^a-z]+", "_", name.lower())
    return next((label for label in CLASSES if plain.startswith(label)), None)
