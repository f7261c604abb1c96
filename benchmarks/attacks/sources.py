"""The photos and scans of one split, and which scan travels in which photo: all splits are disjoint in both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.difference import Image
from hidemia.benchmarks.evaluate import load_photo, truth_mask
from hidemia.runtime import photo, png
from hidemia.runtime.errors import DataError
from hidemia.training.index import photo_rows, read_rows

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sources:
    """What a split is made of.

    Attributes:
        covers: (P, S, S, 3) uint8, after fitting and PNG: the class `cover` as an observer would get it.
        secrets: (M, S, S, 3) uint8.
        masks: (M, S, S) bool; None where the data set has none.
        picks: (P, K), which secrets travel in a cover: K different ones.
        names: Of the files, covers first.
    """

    covers: Image
    secrets: Image
    masks: NDArray[np.bool_] | None
    picks: NDArray[np.int64]
    names: tuple[str, ...]


def read_sources(data: Path, covers: Path, split: str, size: int, per_cover: int, most: int | None) -> Sources:
    """Read a split.

    Args:
        data: Medical images, with `index.csv` or as downloaded.
        covers: Any folder of photos.
        split: train, val or test.
        size: Side of every image in px.
        per_cover: Secrets that each cover carries, one at a time.
        most: Photos that are taken, the first ones; None for all.

    Raises:
        DataError: An image cannot be read, or there are fewer secrets than a cover is to carry.
        DatasetError: No such split.
    """
    photos, rows = photo_rows(covers, split)[:most], read_rows(data, split)
    if len(rows) < per_cover:
        raise DataError(f"{data}: expected at least {per_cover} images of split {split!r}, got {len(rows)}; add some")
    masks = np.stack([truth_mask(data, row, size) for row in rows]) if all(row.get("mask") for row in rows) else None
    return Sources(
        np.stack([received(photo.fit(load_photo(covers / row["image"]), size)) for row in photos]),
        np.stack([photo.fit(load_photo(data / row["image"]), size) for row in rows]),
        masks,
        draw_picks(len(photos), len(rows), per_cover, SPLITS.index(split)),
        tuple(row["image"] for row in (*photos, *rows)),
    )


def secrets_of(source: Sources) -> Image:
    """The secrets of every photo, turn by turn: (K * P, S, S, 3)."""
    return source.secrets[source.picks.T.ravel()]


def received(image: Image) -> Image:
    """What arrives of a photo: through PNG and back, as every photo of both classes goes."""
    return png.decode(png.encode(image))


def draw_picks(photos: int, secrets: int, per_cover: int, seed: int) -> NDArray[np.int64]:
    """Which secrets each photo carries: (photos, per_cover), different ones in a row, each about as often.

    Args:
        photos: How many there are.
        secrets: How many there are, at least ``per_cover``.
        per_cover: Columns.
        seed: Of the order.
    """
    order = np.random.default_rng(seed).permutation(secrets)
    # One column walks on where the one before stopped; its offset keeps a row's secrets apart.
    columns = [order[(np.arange(photos) + turn * max(1, secrets // per_cover)) % secrets] for turn in range(per_cover)]
    return np.stack(columns, axis=1)


def disjoint(splits: dict[str, Sources]) -> None:
    """Check that no photo and no scan lies in two splits, by what is in them.

    Raises:
        DataError: One does.
    """
    seen: dict[bytes, str] = {}
    for split, source in splits.items():
        for image in (*source.covers, *source.secrets):
            other = seen.setdefault(_bytes(image), split)
            if other != split:
                raise DataError(
                    f"expected {other} and {split} to share no image, got one that lies in both; a detector would "
                    "know it: move it in index.csv"
                )


def _bytes(image: NDArray[Any]) -> bytes:
    return image.tobytes()
