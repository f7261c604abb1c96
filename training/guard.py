"""Watches the loss for explosions and takes training back to where it was still good.

HiNet's own logs jump from 5e3 to 8e16 within one epoch: four blocks can amplify by e^8, sixteen by e^32.
"""

from __future__ import annotations

import copy
import math
import statistics
from collections import deque
from typing import Any

import torch

from hidemia.training.errors import TrainingError


class DivergenceGuard:
    """Keeps a good copy of the state in memory and says when to return to it.

    Args:
        factor: a loss above this multiple of the running median has exploded.
        window: losses in the running median.
        every: steps between two good copies.
        patience: rollbacks after which training gives up.
    """

    def __init__(self, factor: float = 5.0, window: int = 100, every: int = 100, patience: int = 10) -> None:
        self.factor, self.every, self.patience = factor, every, patience
        self.losses: deque[float] = deque(maxlen=window)
        self.rollbacks = 0
        self.good: dict[str, Any] | None = None

    def exploded(self, loss: float) -> bool:
        """Whether this loss is not finite or far above what it has been."""
        if not math.isfinite(loss):
            return True
        return len(self.losses) >= 20 and loss > self.factor * statistics.median(self.losses)

    def accept(self, loss: float) -> None:
        """Record the loss of a step that went well."""
        self.losses.append(loss)

    def keep(self, state: dict[str, Any]) -> None:
        """Copy a good state."""
        self.good = copy.deepcopy(state)

    def roll_back(self) -> dict[str, Any]:
        """The last good state.

        Raises:
            TrainingError: there is none, or it has been needed too often.
        """
        self.rollbacks += 1
        if self.good is None or self.rollbacks > self.patience:
            raise TrainingError(
                f"training diverged {self.rollbacks} times, expected at most {self.patience}; "
                "lower the learning rate"
            )
        return copy.deepcopy(self.good)

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs of it."""
        return {"losses": torch.tensor(list(self.losses), dtype=torch.float64), "rollbacks": self.rollbacks}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.losses.clear()
        self.losses.extend(state["losses"].tolist())
        self.rollbacks = state["rollbacks"]
