"""What is taken out of photos: by subtraction, by networks trained on leaked pairs, and by recover networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from hidemia.benchmarks import difference
from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.inversion import invert, train_inversion
from hidemia.benchmarks.attacks.photos import Photos
from hidemia.benchmarks.attacks.sources import Image, Sources, secrets_of
from hidemia.benchmarks.report.document import Exposure
from hidemia.runtime import similarity

Opener = Callable[[Image], Image]  # photos -> what a recover network takes out of them, both (N, S, S, 3)

VIEWS: dict[str, tuple[Callable[[Image, Image], difference.Map], ...]] = {
    "|stego - reply|, smoothed": (difference.changed,),
    "stego - reply in one colour, smoothed": tuple(partial(difference.moved, colour=colour) for colour in range(3)),
    "fine detail of stego - reply, smoothed": (difference.grained,),
}
"""What can be looked at of a difference without a network, and the maps of each, of which val chooses."""


@dataclass(frozen=True)
class Leak:
    """What an inversion network is given.

    Attributes:
        attack: In words.
        given: Photos of a split, (N, S, S, C): turn by turn as `Photos` has them.
        pairs: Leaked pairs that it learns from, at most.
    """

    attack: str
    given: Callable[[Photos, Image], Image]
    pairs: int


def leaks(budget: Budget, several: bool) -> Iterator[Leak]:  # noqa: FBT001 - whether covers carry several secrets
    """All inversions of the secret: few and many pairs, the cover known, the cover used twice."""
    for pairs in budget.leaked:
        name = f"network trained on {pairs} leaked pairs; stego alone"
        yield Leak(name, lambda photos, _: _rows(photos.stegos), pairs)
    most = budget.leaked[-1]
    yield Leak(
        f"the same, {most} pairs; stego and its cover",
        lambda photos, covers: _beside(photos.stegos, np.broadcast_to(covers, photos.stegos.shape)),
        most,
    )
    if several:
        yield Leak(
            f"the same, {most} pairs; two stegos of one cover",
            lambda photos, _: _beside(photos.stegos, np.roll(photos.stegos, 1, axis=0)),
            most,
        )


def inverted(leak: Leak, sources: Mapping[str, Sources], photos: Mapping[str, Photos], budget: Budget) -> Exposure:
    """Train on train, measure on test: how near the result is to the secret, beside the mean secret."""
    given, wanted = leak.given(photos["train"], sources["train"].covers), secrets_of(sources["train"])
    network = train_inversion(
        given[: leak.pairs], wanted[: leak.pairs], seed=0, steps=budget.inversion_steps, batch=budget.inversion_batch
    )
    seen = leak.given(photos["test"], sources["test"].covers)[: _count(sources["test"], budget)]
    return Exposure(
        attack=leak.attack,
        reveals="secret",
        figures=nearness(invert(network, seen), secrets_of(sources["test"])[: len(seen)]),
        beside=by_mean(sources, len(seen)),
    )


def opened(
    attack: str, opener: Opener, sources: Mapping[str, Sources], photos: Mapping[str, Photos], count: int
) -> Exposure:
    """What a recover network takes out of the first stegos of the test split."""
    seen = photos["test"].stegos[0, :count]
    figures = nearness(opener(seen), secrets_of(sources["test"])[: len(seen)])
    return Exposure(attack=attack, reveals="secret", figures=figures, beside=by_mean(sources, len(seen)))


def answered(
    sources: Mapping[str, Sources], photos: Mapping[str, Photos], budget: Budget, known: str = "stego and reply"
) -> Exposure | None:
    """A network that gets stego and reply and learns the result; None where the data set has no masks.

    ``known`` says what its photos took to get.
    """
    train, test = masks_of(sources["train"]), masks_of(sources["test"])
    if train is None or test is None:
        return None
    pairs, count = budget.leaked[-1], _count(sources["test"], budget)
    wanted = (train[:pairs, ..., None] * 255).astype(np.uint8)
    given = _beside(photos["train"].stegos, photos["train"].replies)[:pairs]
    network = train_inversion(given, wanted, seed=0, steps=budget.inversion_steps, batch=budget.inversion_batch)
    found = invert(network, _beside(photos["test"].stegos, photos["test"].replies)[:count])[..., 0]
    return Exposure(
        attack=f"network trained on {pairs} leaked results; {known}",
        reveals="result",
        figures={"Dice": difference.outlined(found.astype(np.float32), test[:count], 127.5)},
        beside={"Dice": prior(sources)},
    )


def subtracted(sources: Mapping[str, Sources], photos: Mapping[str, Photos]) -> list[Exposure]:
    """What needs no training: differences of photos, beside the same of what does not belong together."""
    test, covers = photos["test"], sources["test"].covers
    stegos, replies = test.stegos[0], test.replies[0]
    greys = _maps(difference.grey, secrets_of(sources["test"]))
    own = greys[: len(stegos)]
    found = [
        _of_secret("stego - cover, the cover known", _maps(difference.signed, stegos, covers), own),
        _of_secret("reply - stego", _maps(difference.signed, replies, stegos), own),
    ]
    if len(test.stegos) > 1:
        apart = own - greys[len(stegos) : 2 * len(stegos)]
        reused = _maps(difference.signed, stegos, test.stegos[1])
        found.append(_of_secret("two stegos of one cover, subtracted", reused, apart, "difference of the secrets"))
    if sources["test"].masks is not None:
        found.extend(_of_result(view, sources, photos) for view in VIEWS)
    return found


def _of_result(view: str, sources: Mapping[str, Sources], photos: Mapping[str, Photos]) -> Exposure:
    """One view of what reply and stego differ by, against the mask: which map, side of a level and level, by val."""
    truths = {split: masks_of(sources[split])[: len(photos[split].stegos[0])] for split in ("val", "test")}  # type: ignore[index]
    best, shown, level = -1.0, np.zeros(0, np.float32), 0.0
    for make in VIEWS[view]:
        maps = [_maps(make, photos[split].stegos[0], photos[split].replies[0]) for split in truths]
        for val, test in (maps, [-found for found in maps]):
            cut = difference.best_level(val, truths["val"])
            overlap = difference.outlined(val, truths["val"], cut)
            if overlap > best:
                best, shown, level = overlap, test, cut
    truth = truths["test"]
    return Exposure(
        attack=view,
        reveals="result",
        figures={
            "|correlation|": _mean(_size, shown, truth),
            "Dice": difference.outlined(shown, truth, level),
        },
        beside={
            "|correlation|": _mean(_size, shown, np.roll(truth, 1, axis=0)),
            "Dice": prior(sources),
        },
    )


def nearness(found: Image, secrets: Image) -> dict[str, float]:
    """Means of PSNR and SSIM over (N, S, S, 3) uint8."""
    return {
        "PSNR dB": _mean(similarity.psnr, found, secrets),
        "SSIM": _mean(similarity.ssim, found, secrets),
    }


def by_mean(sources: Mapping[str, Sources], count: int) -> dict[str, float]:
    """What knows no photo at all: the mean of the secrets of train."""
    mean = np.rint(sources["train"].secrets.mean(axis=0)).astype(np.uint8)
    return nearness(np.broadcast_to(mean, (count, *mean.shape)), secrets_of(sources["test"])[:count])


def prior(sources: Mapping[str, Sources]) -> float:
    """Dice of the mean mask of train, cut where val says: what knows no photo, only where lesions mostly lie."""
    masks = {split: masks_of(sources[split]) for split in ("train", "val", "test")}
    mean = np.mean(masks["train"], axis=0, dtype=np.float32)
    maps = {split: np.broadcast_to(mean, masks[split].shape) for split in ("val", "test")}  # type: ignore[union-attr]
    level = difference.best_level(maps["val"], masks["val"])  # type: ignore[arg-type]
    return difference.outlined(maps["test"], masks["test"], level)  # type: ignore[arg-type]


def masks_of(source: Sources) -> difference.Mask | None:
    """Their masks, (K * P, S, S)."""
    return None if source.masks is None else source.masks[source.picks.T.ravel()]


def _of_secret(attack: str, maps: difference.Map, own: difference.Map, reveals: str = "secret") -> Exposure:
    """Against what is hidden there, and beside it against what is hidden in the photo before."""
    found, beside = (_mean(_size, maps, greys) for greys in (own, np.roll(own, 1, axis=0)))
    return Exposure(attack=attack, reveals=reveals, figures={"|correlation|": found}, beside={"|correlation|": beside})


def _maps(make: Callable[..., difference.Map], *photos: Image) -> difference.Map:
    return np.stack([make(*row) for row in zip(*photos, strict=True)])


def _size(a: difference.Map, b: difference.Map) -> float:
    return abs(difference.correlation(a, b))


def _mean(measure: Callable[..., float], *images: np.ndarray) -> float:  # type: ignore[type-arg]
    return round(float(np.mean([measure(*row) for row in zip(*images, strict=True)])), 4)


def _rows(photos: Image) -> Image:
    """(K, P, ...) -> (K * P, ...)."""
    return photos.reshape(-1, *photos.shape[2:])


def _beside(a: Image, b: Image) -> Image:
    """Two photos as six channels: (K, P, S, S, 3) twice -> (K * P, S, S, 6)."""
    return np.concatenate([_rows(a), _rows(b)], axis=-1)


def _count(source: Sources, budget: Budget) -> int:
    photos = len(source.covers)
    return photos if budget.inversion_photos is None else min(photos, budget.inversion_photos)
