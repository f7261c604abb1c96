"""Which detectors are trained, on what, for which attacker; and how well each finds what it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from hidemia.benchmarks.attacks import scores, xunet
from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.classical import Ensemble
from hidemia.benchmarks.attacks.kinds import COVER, LSB, NOISE, STRANGER, Kinds
from hidemia.benchmarks.report.document import Detection, Learned

Kind = Literal["classical", "convolutional"]
DETECTORS: tuple[Kind, ...] = ("classical", "convolutional")
OURS = ("stego", "reply")
COVERS_APART = "cover against cover"
FALSE_ALARMS = 0.01
WEAK = ("LSB matching 0.1", "LSB matching 0.2")
"""Controls for the classical detector alone: the convolutional one would need longer than it is given."""

Split = Callable[[str, str], NDArray[np.generic]]  # kind, split -> photos or features (K, P, ...)


@dataclass(frozen=True)
class Training:
    """A detector that is trained, and what it is then shown.

    Attributes:
        knowledge: What its attacker knows.
        trained_on: A kind of photos; covers are the other class.
        targets: Kinds that it is tested on.
    """

    detector: Kind
    knowledge: str
    trained_on: str
    targets: tuple[str, ...]

    @property
    def strange(self) -> bool:
        """Whether it needs another training's hider."""
        return self.trained_on == STRANGER


class Scored(Struct, frozen=True, kw_only=True):
    """One seed's figures on one target."""

    target: str
    pairs: int
    error: float
    auc: float
    found: float
    curve: list[tuple[float, float]]


def trainings() -> Iterator[Training]:
    """All of them: controls first."""
    for detector in DETECTORS:
        yield Training(detector, "control", COVERS_APART, (COVERS_APART,))
        for name in LSB:
            if detector == "classical" or name not in WEAK:
                yield Training(detector, "control", name, (name, *(OURS if name == "LSB matching 0.4" else ())))
        yield Training(detector, "control", NOISE, (NOISE, *OURS))
        yield Training(detector, "the architecture", STRANGER, OURS)
        for name in OURS:
            yield Training(detector, "the exact weights", name, (name,))


def knows(training: Training, target: str) -> str:
    """What the attacker of a row knows: a control's detector, shown our photos, is one who knows nothing."""
    return "nothing" if training.knowledge == "control" and target in OURS else training.knowledge


def measure(kinds: Kinds, training: Training, budget: Budget, seed: int) -> list[Scored]:
    """Train one detector with one seed, choose its threshold on val, and show it the test split once."""
    photos = training.detector == "convolutional"
    read: Split = (lambda kind, split: kinds.photos(kind, split)[:1]) if photos else kinds.features
    whole: Split = kinds.photos if photos else kinds.features
    clean, hidden = pairs_of(whole, training.trained_on, "train", seed)
    judge = _trained(training.detector, clean, hidden, budget, seed)
    val_clean, val_hidden = pairs_of(read, training.trained_on, "val", seed)
    threshold = scores.best_threshold(judge(val_clean), judge(val_hidden))
    return [
        scored(target, len(clean), threshold, judge(test_clean), judge(test_hidden))
        for target in training.targets
        for test_clean, test_hidden in [pairs_of(read, target, "test", seed)]
    ]


def scored(target: str, pairs: int, threshold: float, clean: scores.Scores, hidden: scores.Scores) -> Scored:
    """The figures of scores."""
    return Scored(
        target=target,
        pairs=pairs,
        error=scores.error(clean, hidden, threshold),
        auc=scores.auc(clean, hidden),
        found=scores.found_at(clean, hidden, FALSE_ALARMS),
        curve=scores.curve(clean, hidden),
    )


def pairs_of(read: Split, kind: str, split: str, seed: int) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Covers and photos of a kind, row by row a pair: (N, ...) twice; turn by turn where a cover has several.

    Cover against cover halves the photos at random: the classes differ in nothing, and share no photo.
    """
    covers = read(COVER, split)[0]
    if kind == COVERS_APART:
        order = np.random.default_rng(seed).permutation(len(covers))
        half = len(covers) // 2
        return covers[order[:half]], covers[order[half : 2 * half]]
    hidden = read(kind, split)
    turns, photos = hidden.shape[:2]
    return np.concatenate([covers[:photos]] * turns), hidden.reshape(turns * photos, *hidden.shape[2:])


def learned(kinds: Kinds, hider: str, target: str, kind: str, pairs: int, budget: Budget) -> Learned:
    """The classical detector after some pairs: on as many covers as there are, then the next secret in each.

    ``kind`` is what the hider's photos, its stegos or replies by ``target``, are called in ``kinds``.
    """
    errors = []
    val, test = (pairs_of(kinds.features, kind, split, 0) for split in ("val", "test"))
    covers, hidden = kinds.features(COVER, "train")[0], kinds.features(kind, "train")
    for seed in range(budget.seeds):
        order = np.random.default_rng(seed).permutation(hidden.shape[1])
        rows = [(turn, row) for turn in range(len(hidden)) for row in order][:pairs]
        chosen = np.stack([hidden[turn, row] for turn, row in rows])
        judge = Ensemble(covers[[row for _, row in rows]], chosen, seed, budget.learners)
        threshold = scores.best_threshold(judge(val[0]), judge(val[1]))
        errors.append(scores.error(judge(test[0]), judge(test[1]), threshold))
    return Learned(hider=hider, target=target, pairs=pairs, error=errors)


def joined(training: Training, target: str, seeds: list[list[Scored]]) -> Detection:
    """The seeds of one row."""
    rows = [next(row for row in found if row.target == target) for found in seeds]
    return Detection(
        detector=training.detector,
        knowledge=knows(training, target),
        trained_on=training.trained_on,
        target=target,
        pairs=rows[0].pairs,
        error=[round(row.error, 4) for row in rows],
        auc=[round(row.auc, 4) for row in rows],
        found=[round(row.found, 4) for row in rows],
        curve=rows[0].curve,
    )


def _trained(
    detector: Kind, clean: NDArray[np.generic], hidden: NDArray[np.generic], budget: Budget, seed: int
) -> Callable[[NDArray[np.generic]], scores.Scores]:
    if detector == "classical":
        return Ensemble(clean, hidden, seed, budget.learners)  # type: ignore[arg-type,return-value]
    network = xunet.train_xunet(
        clean,  # type: ignore[arg-type]
        hidden,  # type: ignore[arg-type]
        seed=seed,
        steps=budget.detector_steps,
        pairs_a_step=budget.detector_pairs,
        crop_px=budget.crop_px,
        width=budget.width,
    )
    return lambda photos: xunet.score(network, photos)  # type: ignore[arg-type]
