"""The veil: noise of a shared key, under which a reply travels as if nothing were written in it.

No value of a reply lies further than ``reach`` levels from that of the photo it answers: it lies in a window of
``2 * reach + 1`` levels around it. The server moves each value round its window as if that were a circle, by steps that
only the key and the photo tell; the device moves it back, and has the reply to the last bit.

Steps are evenly drawn, so what travels is even in its windows whatever the reply was, as under a one-time pad: stego
and reply together tell whoever lacks the key nothing of the result, however much else is known. The keystream is
SHAKE-256 of key and photo. It is repeated for the same photo alone, to which the reply is the same.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import EngineError

__all__ = ["Veil", "lift", "lowest", "outside_share", "put", "steps"]

_DOMAIN = b"hidemia veil 1\0"
_SPARE = 256  # bytes drawn beyond what is needed on average


class Veil(Struct, frozen=True, kw_only=True):
    """What client and server share.

    Attributes:
        reach: Levels that a value of the reply may differ from the photo sent; the noise is of the same size.
        key: 32 bytes in hexadecimal, kept as secret as the recover network.
    """

    reach: Annotated[int, Meta(ge=1, le=16)]
    key: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


def put(reply: Image, sent: Image, veil: Veil) -> Image:
    """Veil a reply, as a server does.

    Args:
        reply: uint8 (S, S, 3), as the analyzer made it.
        sent: uint8 (S, S, 3), the photo it answers, as it was received.
        veil: The pair's.

    Returns:
        uint8 (S, S, 3): evenly distributed within the windows of `sent`.

    Raises:
        EngineError: A value of the reply lies outside its window: its graph is of another veil.
    """
    outside = outside_share(reply, sent, veil.reach)
    if outside:
        raise EngineError(
            f"analyze: expected replies within {veil.reach} levels of the photo, as the veil of this bundle reaches, "
            f"got {outside:.2%} of values beyond; export the bundle again"
        )
    low = lowest(sent, veil.reach)
    return low + _around((reply - low) + steps(sent, veil), veil.reach)


def lift(reply: Image, sent: Image, veil: Veil) -> Image:
    """Take the veil off a reply, as the device does: `put` undone, where all lies in its windows.

    Args:
        reply: uint8 (S, S, 3), as it was received.
        sent: uint8 (S, S, 3), the photo that was sent.
        veil: The pair's.

    Returns:
        uint8 (S, S, 3): the analyzer's reply. Where a value lies outside its window, which no reply's does, one that
        means nothing: ask `outside_share` first.
    """
    low, circle = lowest(sent, veil.reach), 2 * veil.reach + 1
    offset = _around(reply - low, veil.reach)
    return low + _around(offset + (circle - steps(sent, veil)), veil.reach)


def outside_share(reply: Image, sent: Image, reach: int) -> float:
    """Share of a reply's values outside their windows, 0..1; 0 for what a server sends. Both uint8, of one shape."""
    return float(np.mean((reply - lowest(sent, reach)) > 2 * reach))  # what lies below wraps round to far above


def lowest(sent: Image, reach: int) -> Image:
    """The least level of each value's window: uint8, as `sent`. Windows that black or white cuts are moved inside."""
    window: Image = np.clip(sent, reach, 255 - reach) - np.uint8(reach)
    return window


def steps(sent: Image, veil: Veil) -> NDArray[np.uint8]:
    """How far each value is moved: uint8 of the shape of `sent`, evenly drawn from 0 to ``2 * reach``.

    Bytes of the keystream from which a remainder would be uneven are passed over.
    """
    keystream = hashlib.shake_256(_DOMAIN + bytes.fromhex(veil.key) + hashlib.sha256(sent.tobytes()).digest())
    circle = 2 * veil.reach + 1
    end = 256 - 256 % circle
    count = sent.size * 256 // end + _SPARE
    while True:
        drawn = np.frombuffer(keystream.digest(count), np.uint8)
        kept = drawn[drawn < end]
        if len(kept) >= sent.size:
            return _remainders(circle)[kept[: sent.size]].reshape(sent.shape)
        count *= 2  # the same stream, read further


def _around(moved: NDArray[np.uint8], reach: int) -> NDArray[np.uint8]:
    """Where one is on the circle after moving so far."""
    return _remainders(2 * reach + 1)[moved]


@functools.cache
def _remainders(circle: int) -> NDArray[np.uint8]:
    """The remainder of every byte: five times as fast as to divide."""
    return (np.arange(256) % circle).astype(np.uint8)
