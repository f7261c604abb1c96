"""All attacks on one pair, part by part: what was measured already is taken as it lies there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from hidemia.benchmarks.attacks import detection, exposures
from hidemia.benchmarks.attacks.budget import FULL, Budget
from hidemia.benchmarks.attacks.controls import controls
from hidemia.benchmarks.attacks.kinds import STRANGER, Kinds
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.attacks.method import sentences
from hidemia.benchmarks.attacks.photos import Bundles, Pair, Photos, make_photos, unveiled
from hidemia.benchmarks.attacks.rivals import RIVALS, bytes_of, code, given, learning, trained_here
from hidemia.benchmarks.attacks.sources import SPLITS, Sources, disjoint, read_sources
from hidemia.benchmarks.attacks.store import Store
from hidemia.benchmarks.attacks.stranger import Trained, open_all, quality, strangers_photos, train_stranger
from hidemia.benchmarks.attacks.work import Tell, Work
from hidemia.benchmarks.environment import environment
from hidemia.benchmarks.latency.parts import Parts, key
from hidemia.benchmarks.report.document import Attacks, Detection, Exposure
from hidemia.runtime import Client, Server
from hidemia.runtime.errors import DataError
from hidemia.runtime.veil import Veil
from hidemia.training.model import ModelConfig
from hidemia.training.roles import AnyHider
from hidemia.training.weights import load_weights

OPENED = 64  # stegos that recover networks are tried on


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


def attack(
    victim: Victim,
    means: Means,
    out: Path,
    budget: Budget,
    *,
    resume: bool,
    tell: Tell,
    minutes: float | None = None,
) -> Attacks:
    """Measure what is not there yet, and put it together.

    Args:
        victim: Whose photos are attacked.
        means: What the attacker has.
        out: Where photos, checkpoints and parts lie.
        budget: How much it may cost.
        resume: Take parts of the same data, bundles, budget and code that lie there.
        tell: Told what is done next.
        minutes: After which nothing more is begun; what was not reached is absent. None for no limit.

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
    weights = [bytes_of(folder) for folder in (victim.weights, means.other, *means.rivals) if folder is not None]
    # What is made of the photos depends on this code as well; the photos themselves take longest, and do not.
    further = Store(out / "made", key(store.key, budget, means.other is None, code(), *weights))
    stranger = _stranger(means, model, sources, budget, further.folder / "other", tell)
    kinds = Kinds(sources, photos, further)
    kinds.add(STRANGER, strangers_photos(further, "other", stranger, sources, budget))
    work = Work(Parts(out / "parts", further.key, reuse=resume), tell, minutes)
    # What tells most for its time comes first, what needs the other hider last.
    every = list(detection.trainings())
    rows = _detections(work, kinds, budget, [one for one in every if one.detector == "classical" and not one.strange])
    learned = learning(work, kinds, model.name, budget)
    exposed = _untrained(work, sources, photos, system.hider)
    rows += _detections(work, kinds, budget, [one for one in every if one.detector != "classical" and not one.strange])
    exposed += _networks(work, sources, photos, victim.client.manifest.veil, budget)
    rows += _detections(work, kinds, budget, [one for one in every if one.strange])
    exposed += _opened(work, sources, photos, "another training's", stranger)
    became = {"another training": work.do("quality of the other hider", Trained, lambda: quality(stranger(), sources))}
    found, known = given(work, means, out / "made", budget, tell)
    learned += found
    for name in RIVALS:
        if name not in known:
            found, became[name] = trained_here(work, kinds, name, size, budget)
            learned += found
    machine = environment(torch.get_num_threads())
    veil = victim.client.manifest.veil
    known = "" if veil is None else ", replies under a veil whose key the attacker lacks unless a row says otherwise"
    return Attacks(
        hider=model.name,
        date=work.parts.date,
        seconds=round(work.parts.seconds, 1),
        machine=f"{machine.processor}, {machine.cores} cores, {machine.threads} threads",
        quick=budget != FULL,
        method=sentences(victim.settings + known, means, sources, photos, budget, became),
        controls=controls(rows, len(sources["test"].covers)),
        detections=rows,
        learned=learned,
        exposures=exposed,
        absent=work.absent,
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
) -> Callable[[], AnyHider]:
    """The other hider, trained when it is first asked for."""

    @cache
    def hider() -> AnyHider:
        if means.other is not None:
            return load_weights(means.other)[0].hider
        tell("another hider")
        return train_stranger(model, sources["train"].covers, sources["train"].secrets, budget, folder)

    return hider


def _detections(work: Work, kinds: Kinds, budget: Budget, trainings: Iterable[detection.Training]) -> list[Detection]:
    """Rows whose every seed was reached."""
    rows = []
    for training in trainings:
        seeds = [
            work.do(
                f"{training.detector}, {training.trained_on}, seed {seed}",
                list[detection.Scored],
                partial(detection.measure, kinds, training, budget, seed),
            )
            for seed in range(budget.seeds)
        ]
        if None not in seeds:
            rows += [detection.joined(training, target, seeds) for target in training.targets]
    return rows


def _untrained(
    work: Work, sources: Mapping[str, Sources], photos: Mapping[str, Photos], hider: AnyHider
) -> list[Exposure]:
    """Differences, and what a thief of the client has."""
    found = work.do("differences", list[Exposure], partial(exposures.subtracted, sources, photos))
    return [*(found or []), *_opened(work, sources, photos, "the pair's own", lambda: hider)]


def _opened(
    work: Work,
    sources: Mapping[str, Sources],
    photos: Mapping[str, Photos],
    whose: str,
    hider: Callable[[], AnyHider],
) -> list[Exposure]:
    name = f"recover network: {whose}"

    def make() -> Exposure:
        return exposures.opened(name, partial(open_all, hider()), sources, photos, OPENED)

    found = work.do(name, Exposure, make)
    return [] if found is None else [found]


def _networks(
    work: Work, sources: Mapping[str, Sources], photos: Mapping[str, Photos], veil: Veil | None, budget: Budget
) -> list[Exposure]:
    """What networks learn from leaked pairs."""
    leaks = exposures.leaks(budget, photos["train"].stegos.shape[0] > 1)
    found = [
        work.do(leak.attack, Exposure, partial(exposures.inverted, leak, sources, photos, budget)) for leak in leaks
    ]
    found.append(work.do("leaked results", Exposure | None, partial(exposures.answered, sources, photos, budget)))
    if veil is not None:

        def read() -> Exposure | None:
            bare = {split: unveiled(one, veil) for split, one in photos.items()}
            return exposures.answered(sources, bare, budget, "stego and reply, and the key of the veil")

        found.append(work.do("leaked results and key", Exposure | None, read))
    alone = {split: Photos(one.stegos, one.stegos) for split, one in photos.items()}
    of_one = partial(exposures.answered, sources, alone, budget, "stego alone")
    found.append(work.do("leaked results of one photo", Exposure | None, of_one))
    return [exposure for exposure in found if exposure is not None]
