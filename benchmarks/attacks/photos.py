"""The two photos of every trip: stegos and replies of a pair, made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from hidemia.benchmarks.attacks.sources import Image, Sources, received
from hidemia.benchmarks.attacks.store import Store
from hidemia.runtime.veil import Veil, bare


class Pair(Protocol):
    """Device and server in one: what hides and what answers."""

    def hide(self, secret: Image, cover: Image) -> Image:
        """Two uint8 (S, S, 3) -> the stego, the same."""

    def analyze(self, stego: Image) -> Image:
        """The stego -> the reply."""


@dataclass(frozen=True)
class Photos:
    """What was sent and what came back, as PNG gives them back; turn by turn, a turn is one secret in each cover.

    Attributes:
        stegos, replies: (K, P, S, S, 3) uint8.
    """

    stegos: Image
    replies: Image


def make_photos(store: Store, split: str, source: Sources, pair: Pair, tell: Callable[[str], None]) -> Photos:
    """Every secret of a split in each of its covers.

    Args:
        store: Keeps each turn.
        split: Names them.
        source: Covers, secrets and which goes into which.
        pair: Hides and analyses.
        tell: Told what is made.
    """

    def turn(number: int) -> Image:
        tell(f"stegos and replies, {split} {number + 1} of {source.picks.shape[1]}")
        stegos = [
            received(pair.hide(source.secrets[pick], cover))
            for cover, pick in zip(source.covers, source.picks[:, number], strict=True)
        ]
        return np.stack([np.stack(stegos), np.stack([received(pair.analyze(stego)) for stego in stegos])])

    count = source.picks.shape[1]
    both = np.stack([store.get(f"{split}.{number}", partial(turn, number)) for number in range(count)], axis=1)
    return Photos(both[0], both[1])


def unveiled(photos: Photos, pair: Veil) -> Photos:
    """The same photos to whoever has the key of the veil: the replies as the analyzer made them."""
    shape = photos.replies.shape
    rows = zip(photos.replies.reshape(-1, *shape[2:]), photos.stegos.reshape(-1, *shape[2:]), strict=True)
    return Photos(photos.stegos, np.stack([bare(reply, stego, pair) for reply, stego in rows]).reshape(shape))


@dataclass(frozen=True)
class Bundles:
    """A client and a server as a pair."""

    client: Pair
    server: Pair

    def hide(self, secret: Image, cover: Image) -> Image:
        """By the client."""
        return self.client.hide(secret, cover)

    def analyze(self, stego: Image) -> Image:
        """By the server."""
        return self.server.analyze(stego)
