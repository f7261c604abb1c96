"""Photos that are no answer to what a device sent: one kind a function, each from an honest trip.

A device must refuse them all; how often it does not is measured by `hidemia.benchmarks.integrity`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import Server
from hidemia.runtime.veil import Veil, lowest

Image = NDArray[np.uint8]
WINDOWS = Veil(reach=1, colours="blue", key=64 * "0")
"""The windows of a veil in blue, of whatever key; within those of every other too."""


@dataclass(frozen=True)
class Visit:
    """One honest trip, and what an offender could have at hand; every image uint8 (S, S, 3).

    Attributes:
        truth: what must be found: a mask (S, S), or the index of a class.
        other_reply: the honest reply to the trip before: another secret in another cover.
        model: the pair's own analyzer.
    """

    truth: NDArray[np.bool_] | int
    cover: Image
    stego: Image
    reply: Image
    other_reply: Image
    model: Server


def echo(visit: Visit) -> Image:
    """The server sends back what it got."""
    return visit.stego


def bare_cover(visit: Visit) -> Image:
    """The photo without anything in it."""
    return visit.cover


def other_client(visit: Visit) -> Image:
    """The reply to somebody else's photo."""
    return visit.other_reply


def nothing_hidden(visit: Visit) -> Image:
    """The right analyzer, but what it analysed was the photo without anything in it."""
    return visit.model.analyze(visit.cover)


def analysed_twice(visit: Visit) -> Image:
    """A proxy sent the reply through the analyzer again."""
    return visit.model.analyze(visit.reply)


def jpeg(visit: Visit) -> Image:
    """The reply went through JPEG of quality 95."""
    packed = cv2.imencode(".jpg", visit.reply, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)


def noisy(visit: Visit) -> Image:
    """Every value of the reply moved by 3 levels at random."""
    draw = np.random.default_rng(int(visit.reply.sum()))
    moved = visit.reply.astype(np.int16) + draw.choice([-3, 3], visit.reply.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)


def shifted(visit: Visit) -> Image:
    """The reply moved to the right by one pixel."""
    return np.roll(visit.reply, 1, axis=1)


def half(visit: Visit) -> Image:
    """The lower half is the photo that was sent."""
    rows = len(visit.reply) // 2
    return np.concatenate([visit.reply[:rows], visit.stego[rows:]])


def quarter(visit: Visit) -> Image:
    """A quarter of the reply, at its middle, is the bare cover."""
    side = len(visit.reply)
    mixed, middle = visit.reply.copy(), slice(side // 4, side // 4 + side // 2)
    mixed[middle, middle] = visit.cover[middle, middle]
    return mixed


def smoothed(visit: Visit) -> Image:
    """The reply went through a slight blur."""
    return np.asarray(cv2.GaussianBlur(visit.reply, (3, 3), 0.5), dtype=np.uint8)


def guessed(visit: Visit) -> Image:
    """Blue drawn evenly from the levels around the stego's, as the replies of a veil in blue seem without its key."""
    draw, photo, low = np.random.default_rng(int(visit.stego.sum())), visit.stego.copy(), lowest(visit.stego, WINDOWS)
    photo[..., 2:] = low + draw.integers(0, 3, low.shape, dtype=np.uint8)
    return photo


def turned(visit: Visit) -> Image:
    """A square of 8 px of the reply, its blue one level further up or, from the highest, down."""
    turned, low, square = visit.reply.copy(), lowest(visit.stego, WINDOWS), (slice(60, 68), slice(60, 68))
    blue = turned[..., 2:]
    blue[square] = low[square] + (blue[square] - low[square] + 1) % 3
    return turned


OFFENCES: tuple[Callable[[Visit], Image], ...] = (
    echo, bare_cover, other_client, nothing_hidden, analysed_twice, jpeg, noisy, shifted, half, quarter, smoothed,
    guessed, turned,
)  # fmt: skip


def other_model(server: Server) -> Callable[[Visit], Image]:
    """Another model's analyzer answered."""

    def other_model(visit: Visit) -> Image:
        return server.analyze(visit.stego)

    return other_model
