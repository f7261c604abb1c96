"""Tables 1 to 7 of the paper: which cells each is made of, and how it is written.

``hidemia table N --data DIR --covers DIR [--budget STEPS]`` trains what is not there yet. Every cell reads masks from
the difference of what R finds (the printed form cannot say no), and ours is trained in our order; the rest is the
paper's. The column of Table 1 is the data set that is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from hidemia.benchmarks import paper
from hidemia.benchmarks.cells import Budget, Cell, Result
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.pairs import HIDERS, RIVALS
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import BUSI
from hidemia.training.weights import load_weights

Rows = dict[str, Cell]
Model = ModelConfig  # of the data set: task, classes, size; its networks are replaced

HIDE, *_ = BUSI.stages
OURS = tuple(stage for stage in BUSI.stages if stage.objective != "seal")
ALONE = (
    StageConfig("look", steps=2400, batch=8, size_px=224, analyzer_rate=1e-3, pool=6400),
    StageConfig("answer", steps=800, batch=8, size_px=224, analyzer_rate=7e-4, reply_limit=7e-5),
)
FROZEN = StageConfig("analyze_frozen", steps=3000, batch=8, size_px=224, analyzer_rate=5e-4, reply_weight=200.0)


def hider_cell(model: Model, name: str) -> Cell:
    """A hider alone, for all pairs that use it."""
    small = dataclasses.replace(
        model, name=name, hider=HIDERS[name], analyzer=AnalyzerConfig(width=8, levels=2, attention_levels=0)
    )
    return Cell(f"hider-{name}", Recipe(small, (HIDE,)))


def pair_cell(model: Model, analyzer: str, hider: str, budget: Budget) -> Cell:
    """A rival analyzer on a frozen hider."""
    settings = RIVALS[analyzer] if budget.width is None else replace(RIVALS[analyzer], width=budget.width)
    config = dataclasses.replace(model, name=f"{analyzer}-{hider}", hider=HIDERS[hider], analyzer=settings)
    return Cell(config.name, Recipe(config, (FROZEN,)), hider_cell(model, hider))


def ours(model: Model, budget: Budget, name: str, **changes: Any) -> Cell:
    """HideMIA as it ships, but for the seal, with some of the analyzer's settings changed.

    Where the budget has a finished hider, the analyzer alone is trained. Settings that change nothing give one cell.
    """
    analyzer = AnalyzerConfig(**changes)
    name = "hidemia" if analyzer == AnalyzerConfig() else name
    if budget.hider is None:
        config = dataclasses.replace(model, name=name, hider=HiderConfig(), analyzer=analyzer)
        return Cell(name, Recipe(config, OURS))
    name = f"{name}-on-{budget.hider.name}"
    _, given = load_weights(budget.hider)
    config = dataclasses.replace(model, name=name, hider=given.hider, analyzer=analyzer)
    return Cell(name, Recipe(config, ALONE), budget.hider)


def comparison(model: Model, budget: Budget) -> Rows:
    """Tables 1 and 2."""
    names = [(analyzer, hider) for hider in paper.HIDERS for analyzer in paper.ANALYZERS]
    pairs = {f"{analyzer}-{hider}": pair_cell(model, analyzer, hider, budget) for analyzer, hider in names}
    return pairs | {"hidemia": ours(model, budget, "hidemia")}


def residual(model: Model, budget: Budget) -> Rows:
    """Table 3; ``residual-all`` is ours."""
    return {
        f"residual-{bands}": ours(model, budget, f"residual-{bands}", residual=bands) for bands in ("ll", "none", "all")
    }


def active(model: Model, budget: Budget) -> Rows:
    """Table 4: how many difference convolutions are active."""
    return {f"k-{k}": ours(model, budget, f"k-{k}", k=k) for k in range(6)}


def candidates(model: Model, budget: Budget) -> Rows:
    """Table 5: among how many they are chosen."""
    sets = {f"candidates-{n}": tuple(range(1, n + 1)) for n in range(2, 6)}
    return {name: ours(model, budget, name, candidates=chosen) for name, chosen in sets.items()}


def attention(model: Model, budget: Budget) -> Rows:
    """Table 6: AsyWA and what is left out of it."""
    return {name: ours(model, budget, f"attention-{name}", attention=name) for name in paper.TABLE6}


def hiders(model: Model, budget: Budget) -> Rows:
    """Table 7: hiders under the same analyzer, and both ways to distil LightIH.

    ``hidemia`` stands beside them: LightIH and the analyzer in our order, hider and analyzer together.
    """
    rows: Rows = {}
    for name in paper.HIDERS:
        config = dataclasses.replace(model, name=f"hidemia-{name}", hider=HIDERS[name], analyzer=AnalyzerConfig())
        rows[config.name] = Cell(config.name, Recipe(config, (FROZEN,)), hider_cell(model, name))
    taught = (dataclasses.replace(HIDE, teacher=True), dataclasses.replace(FROZEN, teacher=True))
    tuned = StageConfig(
        "fine_tune", steps=1000, batch=8, size_px=224, hider_rate=1e-5, analyzer_rate=1e-5, reply_weight=200.0
    )
    first: Cell | None = None
    for way in ("features", "functions"):
        distil = StageConfig(f"distill_{way}", steps=1000, batch=8, size_px=224, hider_rate=1e-4, mixed=1)
        config = dataclasses.replace(model, name=f"lightih-{way}", hider=HIDERS["lightih"], analyzer=AnalyzerConfig())
        recipe = Recipe(config, (*taught, distil, tuned), teacher=HIDERS["hinet"])
        rows[config.name] = Cell(config.name, recipe, like=first, shared=len(taught))
        first = rows[config.name]
    return rows | {"hidemia": ours(model, budget, "hidemia")}


TABLES: dict[int, tuple[Callable[[Model, Budget], Rows], tuple[str, ...]]] = {
    1: (comparison, ("dsc", "asd_px", "accuracy", "balanced_accuracy", "auc")),
    2: (comparison, ("reply_psnr_db", "reply_ssim")),
    3: (residual, ("reply_psnr_db", "reply_ssim", "dsc", "asd_px")),
    4: (active, ("dsc", "asd_px")),
    5: (candidates, ("dsc", "asd_px")),
    6: (attention, ("dsc", "asd_px")),
    7: (hiders, ("gmacs", "parameters", "dsc", "accuracy", "stego_psnr_db", "stego_ssim", "reply_psnr_db")),
}
"""Cells and figures of each table; a figure is shown where the task has it."""

PERCENT = ("dsc", "accuracy", "balanced_accuracy", "auc")


def printed(number: int, column: str | None, task: str) -> dict[str, dict[str, float]]:
    """The paper's rows of a table."""
    if number == 1:
        return paper.table1(column)
    if number == 2:
        return paper.table2(task)
    return {3: paper.TABLE3, 4: paper.TABLE4, 5: paper.TABLE5, 6: paper.TABLE6, 7: paper.TABLE7}[number]


def shown(result: Result) -> dict[str, float]:
    """Our figures in the paper's units: percent, millions, 10^9 of hide and recover together."""
    found = {name: value * 100 if name in PERCENT else value for name, value in result.items()}
    if "gmacs_hide" in result:
        found["gmacs"] = result["gmacs_hide"] + result["gmacs_recover"]
        found["parameters"] = result["parameters_hider"] / 1e6
    return found


def markdown(number: int, results: dict[str, Result], stated: dict[str, dict[str, float]], note: str) -> str:
    """A table: ours, and the paper's figure behind a slash where it has one."""
    rows = {name: shown(result) for name, result in results.items()}
    names = [name for name in TABLES[number][1] if any(name in row for row in rows.values())]
    lines = [
        f"## Table {number}",
        "",
        note,
        "",
        f"| ours / paper | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for row in [*(name for name in stated if name not in rows), *rows]:
        cells = [_pair(rows.get(row, {}).get(name), stated.get(row, {}).get(name)) for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _pair(ours: float | None, theirs: float | None) -> str:
    return " / ".join("-" if value is None else f"{value:.4g}" for value in (ours, theirs))
