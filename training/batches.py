"""What every step of a recipe sees."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from hidemia.training.data import ALONE, Batch, Place, Scans, hiding_batch, training_batch
from hidemia.training.objective import StageConfig
from hidemia.training.pool import PART, Pool, pool_of
from hidemia.training.recipe import Recipe
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
        self._pools: dict[tuple[int, int], Pool] = {}  # by their first stage and how many images

    def batch(self, stage: int, step: int) -> Batch:
        """The images of one step of a stage."""
        config = self.recipe.stages[stage - 1]
        if not config.pool:
            return self._drawn(config, step)
        kept = (self._first_with_the_pool(stage), config.pool)
        if kept not in self._pools:
            self._pools[kept] = self._pool(kept[0], dataclasses.replace(config, batch=PART))
        pool, own = self._pools[kept], (config.batch, self.recipe.seed, step)
        return pool.batch(*own, exchanged=config.exchanged, joined=config.joined)

    def _first_with_the_pool(self, stage: int) -> int:
        """The first stage that hid the same images: of the same size, and by the same hider."""
        first, size_px = stage, self.recipe.stages[stage - 1].size_px
        for number in range(stage - 1, 0, -1):
            earlier = self.recipe.stages[number - 1]
            if earlier.hider_rate:
                break
            if earlier.pool and earlier.size_px == size_px:
                first = number
        return first

    def _pool(self, first: int, config: StageConfig) -> Pool:
        device = next(self.hider.parameters()).device

        def drawn(number: int) -> Batch:
            return Batch(*(value if value is None else value.to(device) for value in self._drawn(config, number)))

        return pool_of(self.hider, drawn, config.pool, self.out / f"{first}-pool" / str(self.place.rank))

    def _drawn(self, config: StageConfig, step: int) -> Batch:
        recipe, common = self.recipe, (self.scans, self.photos, config.size_px, config.batch, self.recipe.seed, step)
        if config.objective in ("hide", "distill_features"):  # the hider alone
            return hiding_batch(*common, self.place)
        return training_batch(*common, self.place, recipe.balanced, recipe.upright)
