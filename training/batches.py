"""What every step of a recipe sees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from hidemia.training.data import ALONE, Batch, Place, Scans, hiding_batch, training_batch
from hidemia.training.objective import StageConfig
from hidemia.training.pool import PART, Pool, pool_of
from hidemia.training.recipes import Recipe
from hidemia.training.roles import AnyHider


class Batches:
    """What every step of a recipe sees: drawn anew, or from a pool where the stage has one.

    Args:
        recipe: its stages, counted from 1.
        scans, photos: what secrets and covers are drawn from.
        hider: of the system that is trained; finished when a stage with a pool begins.
        out: where pools are kept.
    """

    def __init__(
        self, recipe: Recipe, scans: Scans, photos: Tensor, hider: AnyHider, out: Path, place: Place = ALONE
    ) -> None:
        self.recipe, self.scans, self.photos, self.hider, self.out, self.place = (
            recipe, scans, photos, hider, out, place
        )  # fmt: skip
        self._pools: dict[int, Pool] = {}

    def batch(self, stage: int, step: int) -> Batch:
        """The images of one step of a stage."""
        config = self.recipe.stages[stage - 1]
        if not config.pool:
            return self._drawn(config, step)
        if stage not in self._pools:
            self._pools[stage] = self._pool(stage, dataclasses.replace(config, batch=PART))
        return self._pools[stage].batch(config.batch, self.recipe.seed, step)

    def _pool(self, stage: int, config: StageConfig) -> Pool:
        device = next(self.hider.parameters()).device

        def drawn(number: int) -> Batch:
            return Batch(*(value if value is None else value.to(device) for value in self._drawn(config, number)))

        return pool_of(self.hider, drawn, config.pool, self.out / f"{stage}-pool" / str(self.place.rank))

    def _drawn(self, config: StageConfig, step: int) -> Batch:
        recipe, common = self.recipe, (self.scans, self.photos, config.size_px, config.batch, self.recipe.seed, step)
        if config.objective in ("hide", "distill_features"):  # the hider alone
            return hiding_batch(*common, self.place)
        return training_batch(*common, self.place, recipe.balanced)
