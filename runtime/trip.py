"""The whole trip of one secret: a cover, the stego, the wire, the reply, the result."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from hidemia.runtime import photo, png
from hidemia.runtime.arrays import Image, check_image
from hidemia.runtime.covers import CoverPool
from hidemia.runtime.errors import CoverError, ImageError, ReplyError
from hidemia.runtime.ledger import Ledger
from hidemia.runtime.manifest import Manifest
from hidemia.runtime.result import Result
from hidemia.runtime.transport import Transport

if TYPE_CHECKING:
    from hidemia.runtime.client import Client

__all__ = ["Sent", "arrive", "binding", "depart", "send", "take"]


def send(
    client: Client,
    secret: Image,
    url: str | Transport,
    *,
    covers: CoverPool | None = None,
    cover: Image | None = None,
    allow_reuse: bool = False,
    public_key_ok: bool = False,
    token: str | None = None,
) -> Result:
    """Make the trip; see `Client.send`."""
    check_image(secret, "secret")
    with contextlib.ExitStack() as stack:
        carrier = stack.enter_context(Transport(url, token=token)) if isinstance(url, str) else url
        carrier.check(client.manifest, public_key_ok=public_key_ok)
        sent = depart(client, secret, covers=covers, cover=cover, allow_reuse=allow_reuse)
        return arrive(client, sent, carrier.exchange(sent.photo, etag=client.manifest.etag))


@dataclass(frozen=True, slots=True)
class Sent:
    """What the device keeps of a secret that is on its way.

    Attributes:
        stego: uint8 (S, S, 3), RGB.
        photo: Its PNG. Every attempt sends these bytes.
        size: Height and width of the secret.
        timings_ms: What each step took.
        left: When the PNG was ready, by `perf_counter`.
    """

    stego: Image
    photo: bytes
    size: tuple[int, int]
    timings_ms: Mapping[str, float]
    left: float


def depart(
    client: Client,
    secret: Image,
    *,
    covers: CoverPool | None = None,
    cover: Image | None = None,
    allow_reuse: bool = False,
) -> Sent:
    """The first half of a trip, up to the photo that leaves; arguments and errors as in `take` and `Client.hide`."""
    clock = _Clock()
    taken = take(client.manifest, secret, covers=covers, cover=cover, allow_reuse=allow_reuse)
    clock.lap("cover")
    stego = client.hide(secret, taken)
    clock.lap("hide")
    photo = png.encode(stego)
    clock.lap("encode")
    return Sent(stego, photo, (secret.shape[0], secret.shape[1]), clock.laps_ms, perf_counter())


def arrive(client: Client, sent: Sent, answer: bytes) -> Result:
    """The second half of a trip: from the answer's bytes to the result.

    Raises:
        ReplyError: No answer to this photo, or a damaged one.
        EngineError: The engine failed.
    """
    clock = _Clock(sent.left)
    clock.lap("exchange")
    try:
        reply = png.decode(answer, name="reply")
        clock.lap("decode")
        result = client.recover(reply, sent=sent.stego, size=sent.size)
    except ImageError as error:
        # The caller's images are fine: what came back is not.
        raise ReplyError(str(error)) from error
    return dataclasses.replace(result, timings_ms={**sent.timings_ms, **clock.laps_ms, **result.timings_ms})


def take(
    manifest: Manifest,
    secret: Image,
    *,
    covers: CoverPool | None = None,
    cover: Image | None = None,
    allow_reuse: bool = False,
) -> Image:
    """Get the cover for a secret and bind the two for ever, before any stego exists.

    Args:
        manifest: The client's.
        secret: uint8 (H, W, 3), RGB.
        covers: A pool to take a tile from.
        cover: Or one cover; it is scaled to the network's size before it is recorded.
        allow_reuse: With `cover`: record nothing and refuse nothing.

    Returns:
        uint8 (S, S, 3), RGB, S the network's size.

    Raises:
        CoverError: Neither or both are given, none is left, or the cover carries another secret.
    """
    if (covers is None) == (cover is None):
        raise CoverError("cover: expected covers or a cover, got neither or both; pass one of them", exit_code=2)
    if covers is not None:
        return covers.take(binding(manifest, secret), manifest.image_size_px)
    fitted = photo.fit(check_image(cover, "cover"), manifest.image_size_px)
    if not allow_reuse:
        Ledger().bind(fitted, binding(manifest, secret))
    return fitted


def binding(manifest: Manifest, secret: Image) -> bytes:
    """What a cover is bound to: SHA-256 of the pair id and the secret's pixels at the network's size."""
    fitted = photo.fit(check_image(secret, "secret"), manifest.image_size_px)
    return hashlib.sha256(manifest.pair_id.encode() + b"\0" + fitted.tobytes()).digest()


class _Clock:
    """Laps of one trip, in ms, by name."""

    def __init__(self, since: float | None = None) -> None:
        self.laps_ms: dict[str, float] = {}
        self._last = perf_counter() if since is None else since

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.laps_ms[name] = (now - self._last) * 1e3
        self._last = now
