"""Learning curves: how many pairs an attacker needs, for the pair at hand and for other papers' hiders."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hidemia.benchmarks.attacks import detection
from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.kinds import Kinds
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.attacks.photos import make_photos
from hidemia.benchmarks.attacks.sources import SPLITS, read_sources
from hidemia.benchmarks.attacks.store import Store
from hidemia.benchmarks.attacks.work import Tell, Work
from hidemia.benchmarks.cells import TorchPair
from hidemia.benchmarks.latency.parts import key
from hidemia.benchmarks.report.document import Learned
from hidemia.training.recipes import HIDERS
from hidemia.training.weights import load_weights

RIVALS = ("hinet", "deepstega", "hidden")
OUTSIDE = ("page.py", "command.py", "work.py")  # modules of this package that decide no figure


def learning(work: Work, kinds: Kinds, hider: str, budget: Budget) -> list[Learned]:
    """The error after every number of pairs of the budget that there are, for stego and reply."""
    turns, covers = kinds.sources["train"].picks.shape[::-1]
    found = [
        work.do(
            f"{hider}, {pairs} pairs of {target}",
            Learned,
            partial(detection.learned, kinds, hider, target, pairs, budget),
        )
        for target in detection.OURS
        for pairs in budget.curve
        if pairs <= turns * covers
    ]
    return [point for point in found if point is not None]


def rivals(work: Work, means: Means, made: Path, budget: Budget, tell: Tell) -> tuple[list[Learned], dict[str, str]]:
    """The same of other hiders, one secret in each cover; and why there is none.

    Args:
        work: Does the parts.
        means: Names the weights.
        made: Where photos lie.
        budget: How much it may cost.
        tell: Told what is made.
    """
    found: list[Learned] = []
    configs = []
    for number, weights in enumerate(means.rivals, start=1):
        system, config = load_weights(weights)
        configs.append(config.hider)
        pair = TorchPair(system, config)
        sources = {
            split: read_sources(means.data, means.covers, split, config.image_size_px, 1, most)
            for split, most in zip(SPLITS, budget.photos, strict=True)
        }
        contents = [array.tobytes() for one in sources.values() for array in (one.covers, one.secrets, one.picks)]
        store = Store(made, key(bytes_of(weights), *contents))
        photos = {split: make_photos(store, split, source, pair, tell) for split, source in sources.items()}
        kinds = Kinds(sources, photos, Store(made, key(store.key, code())))
        found += learning(work, kinds, f"rival {number}, {config.name}", budget)
    absent = {
        f"learning curve of {name}": "no trained weights of it were given; train a pair and name them with --rival"
        for name in RIVALS
        if HIDERS[name] not in configs
    }
    return found, absent


def bytes_of(weights: Path) -> bytes:
    """What a model is made of, once it has been loaded."""
    return b"".join((weights / f"{name}.safetensors").read_bytes() for name in ("hider", "analyzer"))


def code() -> bytes:
    """The modules of this package that decide a figure."""
    files = sorted(file for file in Path(__file__).parent.glob("*.py") if file.name not in OUTSIDE)
    return b"\0".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)
