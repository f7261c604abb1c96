"""ChildDental, teeth in panoramic X-rays, as published on figshare: split into train and test.

The archive holds three data sets; the masks of teeth are in ``Adult tooth segmentation dataset``. Its part with an
official split has 1,417 images. The paper counts 2,489 and does not say which.
"""

from __future__ import annotations

from pathlib import Path

from hidemia.training.layouts.pairs import pairs
from hidemia.training.reading import Row

TEETH = ("Dental dataset", "Dental_dataset"), "Adult tooth segmentation dataset", "Dataset and code"


def childdental(folder: Path) -> list[Row]:
    """Both parts of the split; an eighth of the training groups will be drawn for validation.

    Raises:
        DatasetError: an image without a mask.
    """
    names, *inner = TEETH
    tops = [folder, *(folder / name for name in names)]
    for root in (top.joinpath(*inner[skip:]) for top in tops for skip in range(3)):
        train, test = (pairs(folder, root / split, split) for split in ("train", "test"))
        if train and test:
            return train + test
    return []
