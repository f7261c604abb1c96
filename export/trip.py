"""What a precision costs in the product's terms: photos against their cover, and the task through the whole trip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hidemia.export.probes import Probe, Probes, Truth
from hidemia.runtime import similarity
from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import Precision, Verb
from hidemia.training.seal import SEALED

Run: TypeAlias = Callable[[Mapping[str, NDArray[np.uint8]]], list[NDArray[Any]]]
"""One graph: a batch of each input by name -> its outputs."""

PEAK_DB = 99.0  # of two equal photos, so that means stay finite


@dataclass(frozen=True)
class Figures:
    """Means over probes, after the 8-bit channel.

    Attributes:
        stego_psnr_db, reply_psnr_db: against the cover; the reply as the analyzer made it, no veil put on.
        task: Dice of the masks, or the probability that the true class is given; in 0..1.
        sealed: share of tiles that carry the seal, 0..1; 1 where the analyzer writes none.
    """

    stego_psnr_db: float
    reply_psnr_db: float
    task: float
    sealed: float = 1.0


@dataclass(frozen=True)
class Budget:
    """What a precision may lose against FP32: dB of either photo, points of the task's figure and of sealed tiles."""

    psnr_db: float
    points: float
    seal_points: float


BUDGETS: dict[Precision, Budget] = {"fp16": Budget(0.1, 0.1, 0.5), "int8": Budget(1.0, 0.5, 2.0)}

_NAMES = {
    "stego_psnr_db": "PSNR of stego against cover",
    "reply_psnr_db": "PSNR of reply against cover",
    "task": "the task's figure",
    "sealed": "the share of sealed tiles",
}


def travel(runs: Mapping[Verb, Run], probes: Probes, threshold: float | None) -> tuple[Figures, list[NDArray[Any]]]:
    """Make every trip with one set of graphs.

    Args:
        runs: by verb: hide, analyze, recover.
        probes: at least one; those without a truth count as right.
        threshold: of a mask's pixels; None for classification.

    Returns:
        The figures, and what each trip found: probabilities.
    """
    stego_db, reply_db, task, sealed, found = [], [], [], [], []
    for probe in probes:
        (stego,) = runs["hide"]({"secret": probe.secret[None], "cover": probe.cover[None]})
        (reply,) = runs["analyze"]({"stego": stego})
        (probability,), *seal = runs["recover"]({"reply": reply, "sent": stego})
        stego_db.append(min(similarity.psnr(stego[0], probe.cover), PEAK_DB))
        reply_db.append(min(similarity.psnr(reply[0], probe.cover), PEAK_DB))
        task.append(score(probability, probe.truth, threshold))
        sealed.append(float((seal[0] >= SEALED).mean()) if seal else 1.0)
        found.append(probability)
    return Figures(*(float(np.mean(values)) for values in (stego_db, reply_db, task, sealed))), found


def score(probability: NDArray[Any], truth: Truth, threshold: float | None) -> float:
    """Of one result: Dice of its mask with the truth, or the probability of the true class.

    Not whether that class is the most probable: on 200 images one near tie would decide between two precisions.
    """
    if truth is None:
        return 1.0
    if threshold is None:
        return float(probability[truth])
    mask = probability >= threshold
    total = int(mask.sum()) + int(np.sum(truth))
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def known(probes: Probes, found: list[NDArray[Any]], threshold: float | None) -> Probes:
    """The probes, each truth that is not known replaced by what FP32 found: then the figure is agreement with it."""

    def truth(probe: Probe, probability: NDArray[Any]) -> Truth:
        if probe.truth is not None:
            return probe.truth
        return int(probability.argmax()) if threshold is None else np.asarray(probability >= threshold)

    return [
        probe._replace(truth=truth(probe, probability)) for probe, probability in zip(probes, found, strict=True)
    ]  # fmt: skip


def losses(reference: Figures, got: Figures, budget: Budget) -> dict[str, float]:
    """Each figure's loss as a share of its budget; above 1 it is broken."""
    return {
        "stego_psnr_db": (reference.stego_psnr_db - got.stego_psnr_db) / budget.psnr_db,
        "reply_psnr_db": (reference.reply_psnr_db - got.reply_psnr_db) / budget.psnr_db,
        "task": 100 * (reference.task - got.task) / budget.points,
        "sealed": 100 * (reference.sealed - got.sealed) / budget.seal_points,
    }


def require(precision: Precision, engine: str, reference: Figures, got: Figures) -> None:
    """Hold a precision to its budget in an engine, against FP32 in the same one.

    Raises:
        ExportError: a figure lost more than it may, named with its budget and what to do.
    """
    budget = BUDGETS[precision]
    shares = losses(reference, got, budget)
    worst = max(shares, key=lambda name: shares[name])
    if shares[worst] <= 1:
        return
    points = {"task": budget.points, "sealed": budget.seal_points}
    scale, unit, most = (100, "points", points[worst]) if worst in points else (1, "dB", budget.psnr_db)
    before, after = scale * getattr(reference, worst), scale * getattr(got, worst)
    remedy = "calibrate again (python -m hidemia.export.sensitivity)" if precision == "int8" else "keep more in FP32"
    raise ExportError(
        f"{precision} in {engine}: expected {_NAMES[worst]} to lose at most {most:g} {unit} against FP32, "
        f"got {before - after:.2f} ({before:.2f} to {after:.2f}); {remedy}, or export without it: --precision"
    )
