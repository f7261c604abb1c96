"""The images an export is checked with: real ones when a data set is given, simulated ones otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.photo import fit, load
from hidemia.training.data import read_rows

Pairs = list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


def simulated(count: int, size_px: int) -> Pairs:
    """Secrets and covers made by the project, each (S, S, 3) uint8."""
    return [(np.repeat(simulate(i, size_px).image[:, :, None], 3, axis=2), photo(i, size_px)) for i in range(count)]


def real(data: Path, covers: Path, count: int, size_px: int) -> Pairs:
    """Secrets and covers of the ``val`` splits, each (S, S, 3) uint8, evenly spread over the split."""
    secrets, photos = read_rows(data, "val"), read_rows(covers, "val")
    step = max(1, len(secrets) // count)
    return [
        (
            fit(load(data / secrets[i * step]["image"]), size_px),
            fit(load(covers / photos[i % len(photos)]["image"]), size_px),
        )
        for i in range(min(count, len(secrets)))
    ]
