"""The classical detector: an ensemble of linear discriminants on co-occurrence features (Kodovsky et al. 2012)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from hidemia.benchmarks.attacks.scores import Scores

LEARNERS = 30
SUBSPACE = 300

Features = NDArray[np.float32]


class Ensemble:
    """Linear discriminants, each on some of the features and on pairs drawn with replacement; their scores add up.

    Args:
        clean: (N, F) of covers.
        hidden: (N, F) of the same covers with something in them, row by row. Pairs stay together.
        seed: Of all draws.
        learners: How many.
    """

    def __init__(self, clean: Features, hidden: Features, seed: int, learners: int = LEARNERS) -> None:
        draw = np.random.default_rng(seed)
        pairs, width = clean.shape
        self.scaler = StandardScaler().fit(np.concatenate([clean, hidden]))
        clean, hidden = self.scaler.transform(clean), self.scaler.transform(hidden)
        truth = np.repeat([0, 1], pairs)
        self.learners = []
        for _ in range(learners):
            columns = draw.choice(width, min(SUBSPACE, width), replace=False)
            rows = draw.integers(0, pairs, pairs)
            both = np.concatenate([clean[rows][:, columns], hidden[rows][:, columns]])
            # Shrinkage is what lets it learn from fewer pairs than there are features.
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(both, truth)
            self.learners.append((columns, model))

    def __call__(self, features: Features) -> Scores:
        """(N, F) -> (N,): higher where something is hidden."""
        scaled = self.scaler.transform(features)
        return np.mean([model.decision_function(scaled[:, columns]) for columns, model in self.learners], axis=0)
