"""Images and masks side by side: ``images/NAME`` and ``masks/NAME``."""

from __future__ import annotations

from pathlib import Path

from hidemia.training.errors import DatasetError
from hidemia.training.reading import Row, images_in


def pairs(folder: Path, root: Path, split: str) -> list[Row]:
    """Rows of ``root``, with paths relative to ``folder``; none unless both folders are there.

    Raises:
        DatasetError: an image without a mask.
    """
    masks = {path.stem: path for name in ("masks", "mask") for path in images_in(root / name)}
    images = images_in(root / "images")
    if not masks or not images:
        return []
    rows: list[Row] = []
    for path in images:
        mask = masks.get(path.stem)
        if mask is None:
            raise DatasetError(f"{path}: expected a mask of the same name beside it, found none; copy it there")
        image = path.relative_to(folder).as_posix()
        rows.append(
            {"image": image, "mask": mask.relative_to(folder).as_posix(), "label": "", "split": split, "group": image}
        )
    return rows
