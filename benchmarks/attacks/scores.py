"""How well scores tell two classes apart. A detector gives each photo one number; a higher one means `hidden`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores = NDArray[np.float64]


def best_threshold(clean: Scores, hidden: Scores) -> float:
    """The threshold with the least (false alarms + missed) / 2; `hidden` is what lies above it.

    Args:
        clean: (N,) of covers.
        hidden: (M,) of what is to be found.

    Returns:
        The middle of the widest gap among the best places.
    """
    values = np.unique(np.concatenate([clean, hidden]))
    edges = np.concatenate([[values[0] - 1], (values[:-1] + values[1:]) / 2, [values[-1] + 1]])
    errors = np.array([error(clean, hidden, edge) for edge in edges])
    gaps = np.concatenate([[0.0], np.diff(values), [0.0]])
    best = np.flatnonzero(errors == errors.min())
    return float(edges[best[np.argmax(gaps[best])]])


def error(clean: Scores, hidden: Scores, threshold: float) -> float:
    """(false alarms + missed) / 2, each as a share of its class: 0.5 is guessing."""
    return float((np.mean(clean > threshold) + np.mean(hidden <= threshold)) / 2)


def auc(clean: Scores, hidden: Scores) -> float:
    """Area under the ROC curve: how often one of `hidden` scores above one of `clean`, a tie counting half."""
    ranks = rankdata(np.concatenate([clean, hidden]))
    above = ranks[len(clean) :].sum() - len(hidden) * (len(hidden) + 1) / 2
    return float(above / (len(clean) * len(hidden)))


def found_at(clean: Scores, hidden: Scores, false_alarms: float) -> float:
    """Share of `hidden` above the lowest threshold that lets at most this share of `clean` pass."""
    allowed = int(false_alarms * len(clean) + 1e-9)
    threshold = np.sort(clean)[::-1][allowed] if allowed < len(clean) else -np.inf
    return float(np.mean(hidden > threshold))


def curve(clean: Scores, hidden: Scores, points: int = 40) -> list[tuple[float, float]]:
    """The ROC curve: (false alarms, found) at evenly spaced shares of false alarms, 0 and 1 among them."""
    return [(share, found_at(clean, hidden, share)) for share in np.linspace(0, 1, points).round(4).tolist()]
