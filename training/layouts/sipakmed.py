"""SIPaKMeD, cells of Pap smears in five classes: no official split."""

from __future__ import annotations

from pathlib import Path

from hidemia.training.reading import Row, images_of_class


def sipakmed(folder: Path) -> list[Row]:
    """The single cells, ``im_CLASS/CROPPED/SLIDE_CELL.bmp``; all cells of a slide are one group.

    Raises:
        DatasetError: a class without images.
    """
    rows: list[Row] = []
    for outer in sorted(folder.glob("im_*")):
        nested = outer / outer.name  # each class is packed twice in the archives that are about
        label = outer.name.removeprefix("im_").lower()
        cells = (nested if nested.is_dir() else outer) / "CROPPED"
        for path in images_of_class(cells):
            slide = path.stem.split("_")[0]
            image = path.relative_to(folder).as_posix()
            rows.append({"image": image, "mask": "", "label": label, "group": f"{label}/{slide}"})
    return rows
