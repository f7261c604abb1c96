"""Photos of every kind that a detector is trained or tested on, by split, with their covers in the same order."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hidemia.benchmarks.attacks.classical import Features
from hidemia.benchmarks.attacks.cooccurrence import features
from hidemia.benchmarks.attacks.embeddings import lsb_matching, noise_like
from hidemia.benchmarks.attacks.photos import Photos
from hidemia.benchmarks.attacks.sources import SPLITS, Image, Sources
from hidemia.benchmarks.attacks.store import Store

LSB = {"LSB matching 0.1": 0.1, "LSB matching 0.2": 0.2, "LSB matching 0.4": 0.4}
NOISE = "noise of equal PSNR"
STRANGER = "stego of another training"
COVER = "cover"

Maker = Callable[[str], Image]


class Kinds:
    """Kinds of photos, made when they are asked for. Row n of turn k comes from cover n.

    Args:
        sources: Of every split.
        photos: Stegos and replies of every split.
        store: Keeps features, and photos that take long to make.
    """

    def __init__(self, sources: Mapping[str, Sources], photos: Mapping[str, Photos], store: Store) -> None:
        self.sources, self.store = sources, store
        self._makers: dict[str, Maker] = {
            COVER: lambda split: sources[split].covers[None],
            "stego": lambda split: photos[split].stegos,
            "reply": lambda split: photos[split].replies,
            NOISE: lambda split: self._each(split, lambda n, draw: noise_like(
                sources[split].covers[n], photos[split].stegos[0, n], draw)),
        }  # fmt: skip
        for name, rate in LSB.items():
            self._makers[name] = lambda split, rate=rate: self._each(  # type: ignore[misc]
                split, lambda n, draw: lsb_matching(sources[split].covers[n], rate, draw)
            )

    def add(self, name: str, maker: Maker) -> None:
        """One more kind; ``maker(split)`` gives (K, P, S, S, 3), P at most the number of covers."""
        self._makers[name] = maker

    def photos(self, name: str, split: str) -> Image:
        """(K, P, S, S, 3) uint8."""
        return self._makers[name](split)

    def features(self, name: str, split: str) -> Features:
        """Of the same: (K, P, 2401)."""

        def make() -> Features:
            photos = self.photos(name, split)
            found = np.stack([features(photo) for photo in photos.reshape(-1, *photos.shape[2:])])
            return found.reshape(*photos.shape[:2], -1)

        return self.store.get(f"{split}.{name.replace(' ', '-')}.features", make)

    def _each(self, split: str, change: Callable[[int, np.random.Generator], Image]) -> Image:
        count = len(self.sources[split].covers)
        draws = np.random.default_rng([SPLITS.index(split), count]).spawn(count)
        return np.stack([change(n, draw) for n, draw in enumerate(draws)])[None]
