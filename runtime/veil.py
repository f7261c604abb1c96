"""The veil: noise of a shared key, under which a reply travels as if nothing were written in it.

A reply differs from the photo it answers in blue alone, where noise is seen least, or in all colours. There no value
lies further than ``reach`` levels from the photo's: it lies in a window of ``2 * reach + 1`` levels around it. The
server moves each value round its window as if that were a circle, by steps that only the key tells; the device moves it
back, and has the reply to the last bit. Steps are evenly drawn, so what travels is even in its windows whatever the
reply was. To whoever lacks the key the reply adds nothing to what the stego tells, as long as SHAKE-256 cannot be told
from random bytes.

The steps are drawn from a mark, a keyed hash of photo and reply (RFC 5297 calls that a synthetic initialization
vector): two replies to one photo, by servers that round differently, have other steps, and the same reply the same. The
mark travels in the first of these values, where it looks as even as the rest. By it the device knows, too, that
this very reply was made for this very photo by a holder of the key, and that nothing was changed on the way.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import EngineError

__all__ = ["MOST_REACH", "Colours", "Lifted", "Veil", "bare", "lift", "lowest", "outside", "put"]

Colours: TypeAlias = Literal["all", "blue"]
"""In which a reply may differ from the photo it answers."""

MOST_REACH = 16
FIRST_FREE: dict[Colours, int] = {"all": 0, "blue": 2}
"""Index of the first colour in which a reply may differ from the photo it answers; so it may in those after."""
_KEY_BYTES = 32
_MARK_BITS = 128
_SPARE = 256  # bytes drawn beyond what is needed on average

Levels: TypeAlias = NDArray[np.uint8]
"""Of the C colours in which a reply may differ: levels, (S, S, C), or, flat, places in windows, 0 to 2 * reach."""


class Veil(Struct, frozen=True, kw_only=True):
    """What client and server share.

    Attributes:
        reach: Levels that a value of the reply may differ from the photo's; the noise is of the same size.
        colours: In which it may; in the others it is the photo's.
        key: 32 bytes in hexadecimal, kept as secret as the recover network.
    """

    reach: Annotated[int, Meta(ge=1, le=MOST_REACH)]
    colours: Colours
    key: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]

    def __post_init__(self) -> None:
        # msgspec asks this of what is read alone.
        is_known = 1 <= self.reach <= MOST_REACH and self.colours in FIRST_FREE
        if not is_known or len(bytes.fromhex(self.key)) != _KEY_BYTES:
            raise ValueError(
                f"Expected a reach of 1 to {MOST_REACH}, colours all or blue, a key of {_KEY_BYTES} bytes, got {self!r}"
            )

    def __repr__(self) -> str:
        """Without the key: a manifest may be printed."""
        return f"Veil(reach={self.reach}, colours={self.colours!r})"

    @property
    def circle(self) -> int:
        """How many levels a window has."""
        return 2 * self.reach + 1

    def parts(self, photo: Image) -> tuple[Image, Image]:
        """The colours that stay and the C that move: (S, S, 3) -> views (S, S, 3 - C) and (S, S, C)."""
        first = FIRST_FREE[self.colours]
        return photo[..., :first], photo[..., first:]

    def __str__(self) -> str:
        """Its windows in words."""
        return f"{self.circle} levels in {'blue' if self.colours == 'blue' else 'all colours'}"


class Lifted(NamedTuple):
    """A reply with its veil off.

    Attributes:
        reply: uint8 (S, S, 3). Where the mark was it is the photo sent.
        is_genuine: Whether a holder of the key made this reply for this photo, and nothing was changed since.
    """

    reply: Image
    is_genuine: bool


def put(reply: Image, sent: Image, veil: Veil) -> Image:
    """Veil a reply, as a server does.

    Args:
        reply: uint8 (S, S, 3), as the analyzer made it.
        sent: uint8 (S, S, 3), the photo it answers, as it was received.
        veil: The pair's.

    Returns:
        uint8 (S, S, 3): evenly distributed within the windows of `sent`, in the veil's colours.

    Raises:
        EngineError: A value of the reply lies where none may: its graph is of another veil.
    """
    beyond = outside(reply, sent, veil)
    if beyond:
        raise EngineError(
            f"analyze: expected the photo but for the {veil} of the manifest's veil, "
            f"got {beyond} of {reply.size} values beyond; export the bundle again"
        )
    low, photo = lowest(sent, veil), _digest(sent)
    places = (veil.parts(reply)[1] - low).ravel()
    mark = _mark(places, (veil.parts(sent)[1] - low).ravel(), photo, veil)
    moved = _around(places + _drawn(b"steps", photo, mark.tobytes(), veil, low.size), veil.circle)
    moved[: len(mark)] = mark
    return _placed(moved, low, sent, veil)


def lift(reply: Image, sent: Image, veil: Veil) -> Lifted:
    """Take the veil off a reply, as the device does: `put` undone.

    Args:
        reply: uint8 (S, S, 3), as it was received.
        sent: uint8 (S, S, 3), the photo that was sent.
        veil: The pair's.

    Returns:
        The reply, and whether it is genuine. If not, it means nothing.
    """
    low, photo = lowest(sent, veil), _digest(sent)
    places = np.minimum((veil.parts(reply)[1] - low).ravel(), 2 * veil.reach)  # what is outside means nothing
    mark = places[: _mark_length(veil.circle)].copy()
    places = _around(places + (veil.circle - _drawn(b"steps", photo, mark.tobytes(), veil, low.size)), veil.circle)
    expected = _mark(places, (veil.parts(sent)[1] - low).ravel(), photo, veil)
    is_genuine = hmac.compare_digest(mark.tobytes(), expected.tobytes())
    return Lifted(_placed(places, low, sent, veil), is_genuine and not outside(reply, sent, veil))


def bare(reply: Image, sent: Image, veil: Veil | None) -> Image:
    """What is under the veil, genuine or not, or the reply itself where there is none: for measurements."""
    return reply if veil is None else lift(reply, sent, veil).reply


def outside(reply: Image, sent: Image, veil: Veil) -> int:
    """How many values of a reply lie where none of what a server sends does; both uint8 (S, S, 3).

    Outside their windows, or, in colours that stay, off the photo's level.
    """
    (still, moved), (photo, _) = veil.parts(reply), veil.parts(sent)
    apart = moved - lowest(sent, veil)  # what lies below wraps to far above
    return int(np.count_nonzero(still != photo) + np.count_nonzero(apart > 2 * veil.reach))


def lowest(sent: Image, veil: Veil) -> Levels:
    """The least level of each window: uint8 (S, S, 3) -> (S, S, C). Windows that black or white cuts move inside."""
    window: Levels = np.clip(veil.parts(sent)[1], veil.reach, 255 - veil.reach) - np.uint8(veil.reach)
    return window


def _placed(places: Levels, low: Levels, sent: Image, veil: Veil) -> Image:
    """The photo, with what is at these places in its windows."""
    photo: Image = sent.copy()
    veil.parts(photo)[1][:] = low + places.reshape(low.shape)
    return photo


def _mark(places: Levels, unchanged: Levels, photo: bytes, veil: Veil) -> Levels:
    """The keyed hash of photo and reply, as levels; the places that it will take are set to the photo's own first."""
    count = _mark_length(veil.circle)
    places[:count] = unchanged[:count]
    return _drawn(b"mark", photo, _digest(places), veil, count)


def _drawn(purpose: bytes, photo: bytes, seed: bytes, veil: Veil, count: int) -> Levels:
    """Evenly drawn levels of a window, by SHAKE-256 of the key, a purpose, the photo's digest and a seed.

    The levels share the values of a byte evenly; bytes that are left over are passed over.
    """
    secret = f"hidemia veil 2 {veil.colours} {veil.reach}\0".encode() + bytes.fromhex(veil.key)
    stream = hashlib.shake_256(secret + purpose + b"\0" + photo + seed)
    share = 256 // veil.circle
    end = share * veil.circle
    length = count * 256 // end + _SPARE
    while True:
        read = np.frombuffer(stream.digest(length), np.uint8)
        kept = read[read < end]
        if len(kept) >= count:
            levels: Levels = kept[:count] // np.uint8(share)  # a remainder would take fifty times as long
            return levels
        length *= 2  # the same stream, read further


def _digest(array: Levels) -> bytes:
    return hashlib.sha256(array.tobytes()).digest()


def _mark_length(circle: int) -> int:
    """Levels that hold as much as the bits of a mark."""
    return math.ceil(_MARK_BITS / math.log2(circle))


def _around(moved: Levels, circle: int) -> Levels:
    """Where one is on the circle, having gone less than twice round it."""
    place: Levels = np.minimum(moved, moved - np.uint8(circle))  # below a whole round the difference wraps to far above
    return place
