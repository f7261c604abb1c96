"""The six data sets as they are downloaded, each read by a function of its own.

A layout is a function from a folder to rows; it gives none when the folder is not laid out its way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hidemia.training.errors import DatasetError
from hidemia.training.layouts.busi import busi
from hidemia.training.layouts.chestct import chestct
from hidemia.training.layouts.childdental import childdental
from hidemia.training.layouts.copies import join_copies
from hidemia.training.layouts.dermamnist import dermamnist
from hidemia.training.layouts.kvasir import kvasir
from hidemia.training.layouts.sipakmed import sipakmed
from hidemia.training.layouts.splits import draw_split
from hidemia.training.reading import Row


class Layout(NamedTuple):
    """A data set: its name, the files by which it is known, its reader.

    ``alike`` is the correlation of thumbnails from which two images count as copies, where no split is official.
    """

    name: str
    looks_for: str
    read: Callable[[Path], list[Row]]
    alike: float | None = None


LAYOUTS = (
    Layout("BUSI", "benign/benign (1).png with benign (1)_mask.png", busi, 0.9),
    Layout("Kvasir-SEG", "images/ and masks/ with names like cju0qkwl35piu0993l0dewei2.jpg", kvasir, 0.9),
    Layout("ChildDental", "Dataset and code/{train,test}/{images,masks}", childdental),
    Layout("SIPaKMeD", "im_Dyskeratotic/CROPPED/001_01.bmp", sipakmed, 0.97),
    Layout("DermaMNIST", "dermamnist.npz", dermamnist),
    Layout("ChestCT", "{train,valid,test}/normal", chestct),
)


def layout_rows(folder: Path) -> list[Row]:
    """The rows of a data set as it was downloaded, each with its official split or one drawn by group.

    Raises:
        DatasetError: none of the layouts is there, or a file that one of them asks for.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise DatasetError(f"{folder}: expected a data set with index.csv, found {found}; pass the folder that has it")
    for layout in LAYOUTS:
        rows = layout.read(folder)
        if rows:
            return draw_split(rows if layout.alike is None else join_copies(rows, folder, layout.alike))
    known = "; ".join(f"{layout.name}: {layout.looks_for}" for layout in LAYOUTS)
    raise DatasetError(
        f"{folder}: expected a data set with index.csv, found none, nor a layout that is known ({known})"
    )
