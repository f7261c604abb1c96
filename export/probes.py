"""The images an export is checked with: real ones when a data set is given, simulated ones otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.errors import DataError
from hidemia.runtime.photo import fit, load
from hidemia.training.errors import DatasetError
from hidemia.training.index import photo_rows, read_rows
from hidemia.training.model import ModelConfig
from hidemia.training.reading import Row, read_mask

T = TypeVar("T")
Truth: TypeAlias = NDArray[np.bool_] | int | None

MOST_TRIPS = 200  # one in every precision and engine takes seconds
SIMULATED = 12  # trips, where no data set is given


class Probe(NamedTuple):
    """A trip to be made: secret and cover (S, S, 3) uint8, and what must be found.

    The truth is a mask (S, S), the index of a class, or None where it is not known.
    """

    secret: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    truth: Truth


Probes: TypeAlias = list[Probe]


def simulated(count: int, size_px: int, task: str = "segmentation") -> Probes:
    """Scans and photos made by the project; no class is known of them."""
    scans, outlined = [simulate(i, size_px) for i in range(count)], task == "segmentation"
    return [
        Probe(np.repeat(scan.image[:, :, None], 3, axis=2), photo(i, size_px), scan.mask > 0 if outlined else None)
        for i, scan in enumerate(scans)
    ]


def real(data: Path, covers: Path, config: ModelConfig, count: int = MOST_TRIPS, split: str = "val") -> Probes:
    """At most so many trips, of images evenly spread over a split, in photos of the split of the same name.

    A split of fewer goes round again in other photos, as often as all of it is asked for: of 65 outlines each a few
    points better or worse, a mean within half a point is chance.

    Raises:
        DatasetError: no such split.
        DataError: a mask cannot be read, or a label is not one of the model's classes.
    """
    secrets, photos = read_rows(data, split), photo_rows(covers, split)
    size, rows = config.image_size_px, spread(secrets, count)
    rounds = min(count // len(rows), len(photos))
    return [
        Probe(
            fit(load(data / row["image"]), size),
            fit(load(covers / photos[(i + turn) % len(photos)]["image"]), size),
            _mask(data, row, size) if config.task == "segmentation" else _label(row, config, data),
        )
        for turn in range(rounds)
        for i, row in enumerate(rows)
    ]


def spread(items: list[T], count: int) -> list[T]:
    """``count`` of the items at even distances; all where there are fewer."""
    if count >= len(items):
        return items
    return [items[i * len(items) // count] for i in range(count)]


def _mask(data: Path, row: Row, size: int) -> NDArray[np.bool_]:
    try:
        mask = read_mask(data, row)
    except DatasetError as error:
        raise DataError(str(error)) from error
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR) > 127)


def _label(row: dict[str, str], config: ModelConfig, data: Path) -> int:
    if row.get("label") not in config.classes:
        raise DataError(
            f"{data / row['image']}: expected a label among {', '.join(config.classes)}, got {row.get('label')!r}; "
            "check with the data set the model was trained for"
        )
    return config.classes.index(row["label"])
