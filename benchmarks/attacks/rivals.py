"""Learning curves: how many pairs an attacker needs, for the pair at hand and for other papers' hiders."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

from hidemia.benchmarks.attacks import detection
from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.kinds import Kinds
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.attacks.photos import make_photos
from hidemia.benchmarks.attacks.sources import SPLITS, read_sources
from hidemia.benchmarks.attacks.store import Store
from hidemia.benchmarks.attacks.stranger import Trained, quality, strangers_photos, train_stranger
from hidemia.benchmarks.attacks.work import Tell, Work
from hidemia.benchmarks.cells import TorchPair
from hidemia.benchmarks.latency.parts import key
from hidemia.benchmarks.report.document import Learned
from hidemia.training.model import ModelConfig
from hidemia.training.pairs import HIDERS
from hidemia.training.roles import AnyHider
from hidemia.training.weights import load_weights

RIVALS = ("hinet", "deepstega", "hidden")
OUTSIDE = ("page.py", "command.py", "work.py")  # modules of this package that decide no figure


def learning(work: Work, kinds: Kinds, hider: str, budget: Budget) -> list[Learned]:
    """The error after every number of pairs of the budget that there are, for stego and reply."""
    turns, covers = kinds.sources["train"].picks.shape[::-1]
    return [
        point for kind in detection.OURS for point in _curve(work, kinds, hider, kind, kind, turns * covers, budget)
    ]


def given(work: Work, means: Means, made: Path, budget: Budget, tell: Tell) -> tuple[list[Learned], set[str]]:
    """The same of the hiders that the attacker has weights of, one secret in each cover; and which papers' those are.

    Args:
        work: Does the parts.
        means: Names the weights.
        made: Where photos lie.
        budget: How much it may cost.
        tell: Told what is made.
    """
    found: list[Learned] = []
    names: set[str] = set()
    for number, weights in enumerate(means.rivals, start=1):
        system, config = load_weights(weights)
        names |= {name for name in RIVALS if HIDERS[name] == config.hider}
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
    return found, names


def trained_here(
    work: Work, kinds: Kinds, name: str, size_px: int, budget: Budget
) -> tuple[list[Learned], Trained | None]:
    """The same of a paper's hider that nobody gave weights of: stegos alone, after a training as short as another's.

    Args:
        work: Does the parts.
        kinds: Sources of the pair at hand; gets the stegos of this hider.
        name: A key of `hidemia.training.pairs.HIDERS`.
        size_px: Of the photos.
        budget: How much it may cost.

    Returns:
        The curve, and how good the hider became; None where there was no time.
    """
    model = ModelConfig(name, image_size_px=size_px, hider=HIDERS[name])
    sources, kind = kinds.sources, f"stego of {name}"

    @cache
    def hider() -> AnyHider:
        work.tell(f"training {name}")
        return train_stranger(
            model, sources["train"].covers, sources["train"].secrets, budget, kinds.store.folder / name
        )

    kinds.add(kind, strangers_photos(kinds.store, name, hider, sources, budget))
    most = min(budget.other_photos, len(sources["train"].covers))
    curve = _curve(work, kinds, name, "stego", kind, most, budget)
    return curve, work.do(f"quality of {name}", Trained, lambda: quality(hider(), sources))


def _curve(work: Work, kinds: Kinds, hider: str, target: str, kind: str, most: int, budget: Budget) -> list[Learned]:
    found = [
        work.do(
            f"{hider}, {pairs} pairs of {target}",
            Learned,
            partial(detection.learned, kinds, hider, target, kind, pairs, budget),
        )
        for pairs in budget.curve
        if pairs <= most
    ]
    return [point for point in found if point is not None]


def bytes_of(weights: Path) -> bytes:
    """What a model is made of, once it has been loaded."""
    return b"".join((weights / f"{name}.safetensors").read_bytes() for name in ("hider", "analyzer"))


def code() -> bytes:
    """The modules of this package that decide a figure."""
    files = sorted(file for file in Path(__file__).parent.glob("*.py") if file.name not in OUTSIDE)
    return b"\0".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)
