"""What is in a folder of images: its ``index.csv``, or a layout that is known, or simply photos."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hidemia.training.errors import DatasetError
from hidemia.training.layouts import layout_rows
from hidemia.training.reading import Row, images_below

log = logging.getLogger("hidemia.training")

COLUMNS = ("image", "mask", "label", "split", "group")


def read_index(folder: Path) -> list[Row]:
    """All rows of a data set: of its ``index.csv``, which is written first where the layout is a known one.

    So the split that was drawn, or the official one, can be read, quoted and changed.

    Raises:
        DatasetError: no data set, a missing column, a file that the layout asks for, or an index that cannot be
            written.
    """
    index = folder / "index.csv"
    if not index.is_file():
        write_index(layout_rows(folder), index)
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns, rows = list(reader.fieldnames or ()), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{index}: expected UTF-8 text with commas, got {error}") from error
    if not {"image", "split"} <= set(columns):
        raise DatasetError(f"{index}: expected columns image and split, got {', '.join(columns) or 'none'}")
    return rows


def group_of(row: Mapping[str, Any]) -> str:
    """The group of a row of an index or of scores; an image that has none is one of its own."""
    return row.get("group") or row["image"]


def write_index(rows: list[Row], index: Path) -> None:
    """Write ``index.csv``, whole or not at all. Raises DatasetError: the folder cannot be written to."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    partial = index.with_name(f".{index.name}.{os.getpid()}")
    try:
        partial.write_text(text.getvalue(), encoding="utf-8")
        partial.replace(index)
    except OSError as error:
        raise DatasetError(f"{index}: {error.strerror}; the split is kept there, let it be written once") from error
    log.info("%s: written, %d images", index, len(rows))


def read_rows(folder: Path, split: str) -> list[Row]:
    """Rows that belong to the split.

    Raises:
        DatasetError: see `read_index`, or no row of that split.
    """
    rows = read_index(folder)
    chosen = [row for row in rows if row["split"] == split]
    if not chosen:
        splits = ", ".join(sorted({row["split"] for row in rows})) or "no rows"
        raise DatasetError(f"{folder / 'index.csv'}: expected images of split {split!r}, got only {splits}")
    return chosen


def photo_rows(folder: Path, split: str) -> list[Row]:
    """Photos of a split: by ``index.csv`` where there is one, else any photos, their split decided by their names.

    Of ten photos about eight are for ``train``, one for ``val`` and one for ``test``. A photo keeps its split when
    others are added.

    Raises:
        DatasetError: no such folder, no photo, or none of that split.
    """
    if (folder / "index.csv").is_file():
        return read_rows(folder, split)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of photos, found no such folder; check the path")
    names = [path.relative_to(folder).as_posix() for path in images_below(folder)]
    if not names:
        raise DatasetError(
            f"{folder}: expected photos (PNG, JPEG, BMP or TIFF), found none; pass a folder that has some"
        )
    chosen: list[Row] = [{"image": name, "split": split} for name in names if _split_of(name) == split]
    if not chosen:
        raise DatasetError(f"{folder}: expected photos of split {split!r}, got none among {len(names)}; add photos")
    return chosen


def _split_of(name: str) -> str:
    tenth = hashlib.sha256(name.encode()).digest()[0] % 10
    return {0: "test", 1: "val"}.get(tenth, "train")
