"""What subtraction shows: a reply's stego, a known cover, or a second stego of the same cover."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.metrics import dice
from hidemia.training.heads import TILES

SMOOTH_PX = 5.0
FINE_PX = 1.0
LEVELS = 101  # thresholds that are tried on val

Image = NDArray[np.uint8]
Map = NDArray[np.float32]
Mask = NDArray[np.bool_]


def changed(a: Image, b: Image) -> Map:
    """How much two photos differ around each pixel: (S, S, 3) uint8 twice -> (S, S), grey levels, smoothed."""
    return _smoothed(np.abs(a.astype(np.float32) - b).mean(axis=2), SMOOTH_PX)


def moved(a: Image, b: Image, colour: int) -> Map:
    """By how much more of a colour, 0 to 2, a photo has around each pixel: grey levels, smoothed; else as `changed`."""
    return _smoothed(a[..., colour].astype(np.float32) - b[..., colour], SMOOTH_PX)


def grained(a: Image, b: Image) -> Map:
    """How strong the finest detail of what two photos differ by is around each pixel; else as `changed`."""
    apart = signed(a, b)
    return _smoothed(np.abs(apart - _smoothed(apart, FINE_PX)), SMOOTH_PX)


def _smoothed(image: Map, sigma_px: float) -> Map:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.float32)


def in_tiles(apart: Map) -> Map:
    """Means over the tiles in which classes are written, row by row: (S, S) -> (9,)."""
    return np.asarray(cv2.resize(apart, (TILES, TILES), interpolation=cv2.INTER_AREA).ravel(), dtype=np.float32)


def signed(a: Image, b: Image) -> Map:
    """By how much a photo is brighter than another: (S, S, 3) uint8 twice -> (S, S), grey levels."""
    return np.asarray((a.astype(np.float32) - b).mean(axis=2), dtype=np.float32)


def grey(image: Image) -> Map:
    """(S, S, 3) uint8 -> (S, S)."""
    return np.asarray(image.astype(np.float32).mean(axis=2), dtype=np.float32)


def correlation(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    """Pearson's, over all values; 0 where one of the two is constant."""
    x, y = (v.astype(np.float64) - v.astype(np.float64).mean() for v in (a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum() / scale) if scale > 0 else 0.0


def best_level(maps: Map, masks: Mask) -> float:
    """The level above which maps (N, S, S) are nearest to their masks, by the mean Dice."""
    levels = np.quantile(maps, np.linspace(0, 1, LEVELS))
    return float(max(levels, key=lambda level: outlined(maps, masks, level)))


def outlined(maps: Map, masks: Mask, level: float) -> float:
    """Mean Dice of maps above a level against masks, both (N, S, S)."""
    return float(np.mean([dice(found > level, mask) for found, mask in zip(maps, masks, strict=True)]))
