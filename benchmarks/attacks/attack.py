"""All attacks on one pair, part by part: what was measured already is taken as it lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hidemia.benchmarks.attacks import detection, exposures
from hidemia.benchmarks.attacks.budget import FULL, Budget
from hidemia.benchmarks.attacks.controls import controls
from hidemia.benchmarks.attacks.kinds import STRANGER, Kinds
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.attacks.method import sentences
from hidemia.benchmarks.attacks.photos import Bundles, Pair, Photos, make_photos
from hidemia.benchmarks.attacks.sources import SPLITS, Image, Sources, disjoint, read_sources
from hidemia.benchmarks.attacks.store import Store
from hidemia.benchmarks.attacks.stranger import hide_all, open_all, train_stranger
from hidemia.benchmarks.cells import TorchPair
from hidemia.benchmarks.environment import environment
from hidemia.benchmarks.latency.parts import Parts, key
from hidemia.benchmarks.report.document import Attacks, Detection, Exposure, Learned
from hidemia.runtime import Client, Server, similarity
from hidemia.runtime.errors import DataError
from hidemia.training.recipes import HIDERS, ModelConfig
from hidemia.training.roles import AnyHider
from hidemia.training.weights import load_weights

OPENED = 64  # stegos that recover networks are tried on
RIVALS = ("hinet", "deepstega", "hidden")
OUTSIDE = ("page.py", "command.py")  # modules of this package that decide no figure

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Victim:
    """Whose photos are attacked.

    Attributes:
        settings: Precision and engine, in words.
        weights: That the bundles were made of: what a thief of the client has.
    """

    client: Client
    server: Server
    settings: str
    weights: Path


def attack(victim: Victim, means: Means, out: Path, budget: Budget, *, resume: bool, tell: Tell) -> Attacks:
    """Measure what is not there yet, and put it together.

    Args:
        victim: Whose photos are attacked.
        means: What the attacker has.
        out: Where photos, checkpoints and parts lie.
        budget: How much it may cost.
        resume: Take parts of the same data, bundles, budget and code that lie there.
        tell: Told what is done next.

    Raises:
        DataError: Data or covers cannot be used.
    """
    system, model = load_weights(victim.weights)
    size = victim.client.image_size_px
    if model.image_size_px != size:
        raise DataError(
            f"{victim.weights}: expected the weights that the bundles were made of, for {size} px, got some for "
            f"{model.image_size_px} px; name them with --weights"
        )
    sources = _sources(means, size, budget)
    facts = [victim.client.manifest_sha256, victim.server.manifest_sha256, victim.settings, *_contents(sources)]
    store = Store(out / "made", key(*facts))
    photos = _photos(store, sources, Bundles(victim.client, victim.server), tell)
    weights = [_bytes(folder) for folder in (victim.weights, means.other, *means.rivals) if folder is not None]
    # What is made of the photos depends on this code as well; the photos themselves take longest, and do not.
    further = Store(out / "made", key(store.key, budget, means.other is None, _code(), *weights))
    stranger = _stranger(means, model, sources, budget, further.folder / "other", tell)
    kinds = Kinds(sources, photos, further)
    kinds.add(STRANGER, _strangers_photos(further, stranger, sources, budget))
    parts = Parts(out / "parts", further.key, reuse=resume)

    def part(name: str, kind: Any, make: Callable[[], Any]) -> Any:
        tell(name)
        return parts.get(name.replace(" ", "-"), kind, make)

    rows = _detections(part, kinds, budget)
    learned = [
        part(
            f"{pairs} pairs of {target}",
            Learned,
            lambda target=target, pairs=pairs: detection.learned(kinds, model.name, target, pairs, budget),
        )
        for target in detection.OURS
        for pairs in budget.curve
        if pairs <= photos["train"].stegos.shape[0] * photos["train"].stegos.shape[1]
    ]
    found, absent = _rivals(part, means, out, budget, tell)
    quality = part("the other hider", list[float], lambda: _quality(stranger, sources))
    exposed = _exposures(part, sources, photos, budget, system.hider, stranger)
    machine = environment(torch.get_num_threads())
    return Attacks(
        hider=model.name,
        date=parts.date,
        seconds=round(parts.seconds, 1),
        machine=f"{machine.processor}, {machine.cores} cores, {machine.threads} threads",
        quick=budget != FULL,
        method=sentences(victim.settings, means, sources, photos, budget, quality),
        controls=controls(rows, len(sources["test"].covers)),
        detections=rows,
        learned=[*learned, *found],
        exposures=exposed,
        absent=absent,
    )


def _sources(means: Means, size: int, budget: Budget) -> dict[str, Sources]:
    sources = {
        split: read_sources(means.data, means.covers, split, size, per_cover, most)
        for split, per_cover, most in zip(SPLITS, budget.per_cover, budget.photos, strict=True)
    }
    disjoint(sources)
    return sources


def _contents(sources: Mapping[str, Sources]) -> list[bytes]:
    return [array.tobytes() for split in sources.values() for array in (split.covers, split.secrets, split.picks)]


def _photos(store: Store, sources: Mapping[str, Sources], pair: Pair, tell: Tell) -> dict[str, Photos]:
    return {split: make_photos(store, split, source, pair, tell) for split, source in sources.items()}


def _stranger(
    means: Means, model: ModelConfig, sources: Mapping[str, Sources], budget: Budget, folder: Path, tell: Tell
) -> AnyHider:
    if means.other is not None:
        return load_weights(means.other)[0].hider
    tell("another hider")
    return train_stranger(model, sources["train"].covers, sources["train"].secrets, budget, folder)


def _strangers_photos(
    store: Store, stranger: AnyHider, sources: Mapping[str, Sources], budget: Budget
) -> Callable[[str], Image]:
    def make(split: str) -> Image:
        covers = sources[split].covers[: budget.other_photos]
        secrets = exposures.secrets_of(sources[split])[: len(covers)]
        return store.get(f"{split}.other", lambda: hide_all(stranger, secrets, covers)[None])

    return make


def _detections(part: Callable[..., Any], kinds: Kinds, budget: Budget) -> list[Detection]:
    rows = []
    for training in detection.trainings():
        seeds = [
            part(
                f"{training.detector}, {training.trained_on}, seed {seed}",
                list[detection.Scored],
                lambda training=training, seed=seed: detection.measure(kinds, training, budget, seed),
            )
            for seed in range(budget.seeds)
        ]
        rows += [detection.joined(training, target, seeds) for target in training.targets]
    return rows


def _rivals(
    part: Callable[..., Any], means: Means, out: Path, budget: Budget, tell: Tell
) -> tuple[list[Learned], dict[str, str]]:
    """Learning curves of other hiders, one secret in each cover; and why there is none."""
    found: list[Learned] = []
    configs = []
    for weights in means.rivals:
        system, config = load_weights(weights)
        configs.append(config.hider)
        pair = TorchPair(system, config)
        sources = {
            split: read_sources(means.data, means.covers, split, config.image_size_px, 1, most)
            for split, most in zip(SPLITS, budget.photos, strict=True)
        }
        store = Store(out / "made", key(_bytes(weights), *_contents(sources)))
        kinds = Kinds(sources, _photos(store, sources, pair, tell), Store(out / "made", key(store.key, _code())))
        found += [
            part(
                f"{config.name}, {pairs} pairs of {target}",
                Learned,
                lambda kinds=kinds, config=config, target=target, pairs=pairs: detection.learned(
                    kinds, config.name, target, pairs, budget
                ),
            )
            for target in detection.OURS
            for pairs in budget.curve
            if pairs <= len(sources["train"].covers)
        ]
    absent = {
        f"learning curve of {name}": "no trained weights of it were given; train a pair and name them with --rival"
        for name in RIVALS
        if HIDERS[name] not in configs
    }
    return found, absent


def _exposures(
    part: Callable[..., Any],
    sources: Mapping[str, Sources],
    photos: Mapping[str, Photos],
    budget: Budget,
    hider: AnyHider,
    stranger: AnyHider,
) -> list[Exposure]:
    found = part("differences", list[Exposure], lambda: exposures.subtracted(sources, photos))
    for name, owner in (("the pair's own", hider), ("another training's", stranger)):
        found.append(
            part(
                f"recover network, {name}",
                Exposure,
                lambda name=name, owner=owner: exposures.opened(
                    f"recover network: {name}", lambda seen: open_all(owner, seen), sources, photos, OPENED
                ),
            )
        )
    for leak in exposures.leaks(budget, photos["train"].stegos.shape[0] > 1):
        found.append(part(leak.attack, Exposure, lambda leak=leak: exposures.inverted(leak, sources, photos, budget)))
    answer = part("leaked results", Exposure | None, lambda: exposures.answered(sources, photos, budget))
    return found if answer is None else [*found, answer]


def _quality(stranger: AnyHider, sources: Mapping[str, Sources]) -> list[float]:
    """Of another training's hider on a few photos of val: PSNR of stego to cover, and of what it recovers itself."""
    covers = sources["val"].covers[:16]
    secrets = exposures.secrets_of(sources["val"])[: len(covers)]
    stegos = hide_all(stranger, secrets, covers)
    pairs = ((stegos, covers), (open_all(stranger, stegos), secrets))
    return [round(float(np.mean([similarity.psnr(*pair) for pair in zip(*two, strict=True)])), 2) for two in pairs]


def _bytes(weights: Path) -> bytes:
    """What a model is made of, once it has been loaded."""
    return b"".join((weights / f"{name}.safetensors").read_bytes() for name in ("hider", "analyzer"))


def _code() -> bytes:
    """The modules of this package that decide a figure."""
    files = sorted(file for file in Path(__file__).parent.glob("*.py") if file.name not in OUTSIDE)
    return b"\0".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)
