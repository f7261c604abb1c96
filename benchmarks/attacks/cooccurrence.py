"""Features of a photo for a classical detector: how neighbouring differences follow each other, in and across colours.

Within a colour they are SPAM-686 (Pevny, Bas and Fridrich 2010, section 3): second-order Markov transition
probabilities of differences between neighbours, limited to [-3, 3],

    M[u, v, w] = P(d[j + 2] = u | d[j + 1] = v, d[j] = w),

averaged over the four directions along rows and columns, and over the four diagonals. Differences beyond the limit
count as the limit. Across colours they are the joint probability of the three colours' differences at one place, as in
colour rich models (Goljan, Cogranne and Fridrich 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.attacks.sources import Image

LIMIT = 3
LEVELS = 2 * LIMIT + 1
FEATURES = 3 * 2 * LEVELS**3 + LEVELS**3

Counts = NDArray[np.float64]
Plane = NDArray[np.int16]
STRAIGHT, DIAGONAL = ((0, 1), (1, 0)), ((1, 1), (1, -1))
"""Directions as (rows, columns); each stands for itself and for the way back."""


def features(photo: Image) -> NDArray[np.float32]:
    """uint8 (H, W, 3), at least 4 px a side -> (2401,) float32: SPAM-686 of each colour, then 343 across colours."""
    planes = np.moveaxis(photo.astype(np.int16), 2, 0)
    return np.concatenate([*(spam(plane) for plane in planes), across(planes)]).astype(np.float32)


def spam(plane: Plane) -> Counts:
    """(H, W) integers -> (686,): the means over rows and columns, then over diagonals."""
    return np.concatenate(
        [np.mean([m for way in ways for m in _both_ways(plane, way)], axis=0).ravel() for ways in (STRAIGHT, DIAGONAL)]
    )


def transitions(counts: Counts) -> Counts:
    """Counts [u, v, w] -> the probability of u after v after w; 0 where v after w never came."""
    before = counts.sum(axis=0)
    return np.divide(counts, before, out=np.zeros_like(counts), where=before > 0)


def triplets(plane: Plane, way: tuple[int, int]) -> Counts:
    """How often d[j] = w, d[j + 1] = v, d[j + 2] = u along a direction: [u, v, w] from -3 to 3."""
    d = differences(plane, way)
    rows, columns = way
    first, second, third = (_shifted(d, step * rows, step * columns, 2 * rows, 2 * columns) for step in range(3))
    return _counted(third, second, first)


def across(planes: Plane) -> Counts:
    """(3, H, W) -> (343,): how often each triplet of the colours' differences occurs, over rows, columns and back."""
    found = np.zeros((LEVELS,) * 3)
    for way in STRAIGHT:
        counts = _counted(*(differences(plane, way) for plane in planes))
        found += counts + counts[::-1, ::-1, ::-1]  # on the way back every sign turns
    return (found / found.sum()).ravel()


def differences(plane: Plane, way: tuple[int, int]) -> Plane:
    """Differences d = x[i, j] - x[i + rows, j + columns], limited to [-3, 3]."""
    rows, columns = way
    here, there = _shifted(plane, 0, 0, rows, columns), _shifted(plane, rows, columns, rows, columns)
    return np.clip(here - there, -LIMIT, LIMIT)


def _both_ways(plane: Plane, way: tuple[int, int]) -> tuple[Counts, Counts]:
    """The transitions along a direction, and along its way back: there the same triplets come reversed and negated."""
    counts = triplets(plane, way)
    return transitions(counts), transitions(counts.transpose(2, 1, 0)[::-1, ::-1, ::-1])


def _shifted(plane: Plane, row: int, column: int, rows: int, columns: int) -> Plane:
    """What lies at an offset, for all places from which the farthest offset (rows, columns) is still inside."""
    height, width = plane.shape[0] - abs(rows), plane.shape[1] - abs(columns)
    left = max(0, -columns) + column
    return plane[row : row + height, left : left + width]


def _counted(a: Plane, b: Plane, c: Plane) -> Counts:
    code = ((a + LIMIT) * LEVELS + (b + LIMIT)) * LEVELS + (c + LIMIT)
    return np.bincount(code.ravel(), minlength=LEVELS**3).reshape((LEVELS,) * 3).astype(np.float64)
