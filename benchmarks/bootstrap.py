"""How sure a mean over images is: groups of images are drawn anew, again and again.

Slices of one patient, or near-copies, are right or wrong together. Ten of them say little more than one, so whole
groups are drawn and not images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROUNDS = 10_000
DRAWN_AT_ONCE = 2**21  # groups: some 50 MB


def mean_of(values: NDArray[np.float64], strata: Sequence[str]) -> float:
    """The mean over strata of the mean in each: values (N,), and for each the name of its stratum, such as a class."""
    names = np.array(strata)
    return float(np.mean([values[names == name].mean() for name in sorted(set(strata))]))


def resampled(
    values: NDArray[np.float64], strata: Sequence[str], groups: Sequence[str], rounds: int = ROUNDS
) -> NDArray[np.float64]:
    """`mean_of` for groups drawn anew in each stratum, from seed 0: -> (rounds,).

    Args:
        values: one for each image, (N,).
        strata: its class, (N,); all the same where every image counts alike.
        groups: what it belongs to, (N,). Images of a group in two strata are two groups, drawn apart.
        rounds: how often groups are drawn.

    A stratum of a handful of groups makes what comes out too narrow rather than too wide.
    """
    draw, names, members = np.random.default_rng(0), np.array(strata), np.array(groups)
    samples = []
    for name in sorted(set(strata)):
        own = names == name
        _, place = np.unique(members[own], return_inverse=True)
        sizes, sums = np.bincount(place), np.bincount(place, weights=values[own])
        parts = []
        for some in np.array_split(np.empty(rounds), -(-rounds * len(sizes) // DRAWN_AT_ONCE)):
            picks = draw.integers(len(sizes), size=(len(some), len(sizes)))
            parts.append(sums[picks].sum(axis=1) / sizes[picks].sum(axis=1))
        samples.append(np.concatenate(parts))
    return np.mean(samples, axis=0)


def lower_bound(samples: NDArray[np.float64]) -> float:
    """The one-sided 95 % lower bound of a mean."""
    return float(np.percentile(samples, 5))


def interval(samples: NDArray[np.float64]) -> tuple[float, float]:
    """The two-sided 95 % confidence interval of a mean."""
    low, high = np.percentile(samples, (2.5, 97.5))
    return float(low), float(high)
