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

FIRST = 20  # losses by which the beginning of a stage is known
CROSS_ENTROPY = 10.0  # one where almost everything is known by heart, and one image is told wrong for certain


class DivergenceGuard:
    """Keeps good copies of the state in memory and says when to return to one.

    Args:
        factor: a loss above this multiple of the running median, above what the first were and above ``plausible`` has
            exploded; honest spikes of a small loss reach five to ten times the median, and of one that is nearly
            learned by heart more.
        plausible: what an honest loss may come to at any time, such as `CROSS_ENTROPY` where classes are told.
        window: losses in the running median.
        every: steps between two good copies.
        patience: rollbacks after which training gives up.
    """

    def __init__(
        self, factor: float = 20.0, window: int = 100, every: int = 100, patience: int = 10, plausible: float = 0.0
    ) -> None:
        self.factor, self.every, self.patience, self.plausible = factor, every, patience, plausible
        self.losses: deque[float] = deque(maxlen=window)
        self.first = math.inf  # the median of the first losses; until then nothing but what is not finite has exploded
        self.rollbacks = 0
        self.good: deque[dict[str, Any]] = deque(maxlen=3)
        self.returned = False  # to the newest copy, with no new one since

    def exploded(self, loss: float) -> bool:
        """Whether this loss is not finite or far above what it has been."""
        if not math.isfinite(loss):
            return True
        return loss > max(self.plausible, self.first, self.factor * statistics.median(self.losses or [math.inf]))

    def accept(self, loss: float) -> None:
        """Record the loss of a step that went well."""
        self.losses.append(loss)
        if self.first == math.inf and len(self.losses) == FIRST:
            self.first = statistics.median(self.losses)

    def healthy(self) -> bool:
        """Whether the last loss is what the last hundred were: not while one is on its way up."""
        return not self.losses or self.losses[-1] <= 2 * statistics.median(self.losses)

    def keep(self, state: dict[str, Any]) -> None:
        """Copy the state, if it is a good one."""
        if self.healthy():
            self.good.append(copy.deepcopy(state))
            self.returned = False

    def roll_back(self) -> dict[str, Any]:
        """The last good state; the one before it when that one has just led to an explosion itself.

        Raises:
            TrainingError: there is none, or it has been needed too often.
        """
        self.rollbacks += 1
        if self.returned and len(self.good) > 1:
            self.good.pop()
        if not self.good or self.rollbacks > self.patience:
            raise TrainingError(
                f"training diverged {self.rollbacks} times, expected at most {self.patience}; lower the learning rate"
            )
        self.returned = True
        return copy.deepcopy(self.good[-1])

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs of it."""
        losses = torch.tensor(list(self.losses), dtype=torch.float64)
        return {"losses": losses, "first": self.first, "rollbacks": self.rollbacks}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.losses.clear()
        self.losses.extend(state["losses"].tolist())
        self.first, self.rollbacks = state.get("first", math.inf), state["rollbacks"]  # older checkpoints have no first
