"""The device's half: hide a secret in a cover, and recover the result from the reply."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import judging, photo, veil
from hidemia.runtime.arrays import Image, check_image, check_photo
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.covers import CoverPool
from hidemia.runtime.engine import Engine, EngineSettings, open_engines
from hidemia.runtime.errors import ImageError
from hidemia.runtime.manifest import Manifest, Precision
from hidemia.runtime.result import Result, make_result

if TYPE_CHECKING:
    from hidemia.runtime.stream import Frame, Stream
    from hidemia.runtime.transport import Transport

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """The hide and recover networks of a bundle, loaded. Made by `Client.load`; safe across threads."""

    def __init__(self, manifest: Manifest, hider: Engine, recoverer: Engine, *, manifest_sha256: str) -> None:
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self._hider = hider
        self._recoverer = recoverer

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        precision: Precision | None = None,
        engine: EngineSettings | None = None,
        trusted_keys: Sequence[str | Path] | None = None,
        shared_ok: bool = False,
    ) -> Client:
        """Open a client bundle and make both engines ready.

        Args:
            path: The bundle's folder.
            precision: The manifest's first when None.
            engine: What runs the graphs, and where; ONNX Runtime on the CPU when None.
            trusted_keys: Files with Ed25519 public keys, one of which must have signed the bundle; see `Bundle.open`.
            shared_ok: Load a private bundle although other accounts on this machine can read it.

        Raises:
            BundleError: No bundle, a damaged or unsigned one, one of another role, or one that others can read.
            EngineError: The engine is absent or cannot run it.
            HidemiaError: A trusted key cannot be read.
        """
        bundle = Bundle.open(path, "client", trusted_keys=trusted_keys)
        if not shared_ok:
            bundle.check_unshared()
        settings = engine or EngineSettings()
        graphs = [bundle.graph(verb, precision=precision, backend=settings.reads) for verb in ("hide", "recover")]
        hider, recoverer = open_engines(bundle, graphs, settings)
        return cls(bundle.manifest, hider, recoverer, manifest_sha256=bundle.manifest_sha256)

    @property
    def image_size_px(self) -> int:
        """Side of every stego and reply."""
        return self.manifest.image_size_px

    def hide(self, secret: Image, cover: Image) -> Image:
        """Hide a secret in a cover. Use each cover once: whoever has it can subtract it.

        Args:
            secret: uint8 (H, W, 3), RGB, at least 32 px a side; scaled to the network's size.
            cover: The same, of any other size.

        Returns:
            The stego: uint8 (S, S, 3), RGB, S the network's size.

        Raises:
            ImageError: An image is of another shape, dtype, or too small.
            EngineError: The engine failed.
        """
        size = self.image_size_px
        secret = photo.fit(check_image(secret, "secret"), size)
        cover = photo.fit(check_image(cover, "cover"), size)
        stego = self._hider.run({"secret": _batch(secret), "cover": _batch(cover)})["stego"][0]
        return np.asarray(stego, dtype=np.uint8)

    def recover(self, reply: Image, *, sent: Image, size: tuple[int, int] | None = None) -> Result:
        """Recover the result from a reply to the photo that was sent.

        Args:
            reply: uint8 (S, S, 3), RGB, as the server returned it.
            sent: uint8 (S, S, 3), RGB, the stego as it was sent.
            size: Height and width that the mask is scaled to; the network's size when None.

        Raises:
            ImageError: An image has another shape or dtype.
            ReplyError: The reply equals what was sent, lies too far from it or beyond the veil's reach, or lacks the
                analyzer's seal or carries it too strongly: it is no answer to this photo, or was analysed again.
            EngineError: The engine failed.
        """
        check_photo(reply, "reply", self.image_size_px)
        check_photo(sent, "sent", self.image_size_px)
        if size is not None and min(size) < 1:
            raise ImageError(f"size: expected a height and width of at least 1, got {size}; pass the secret's own")
        limits = self.manifest.reply_limits
        assert limits is not None  # noqa: S101  a client's manifest without them does not load
        start = perf_counter()
        if self.manifest.veil is not None:
            reply = judging.unveiled(reply, sent, self.manifest.veil)
        integrity = judging.check_distance(reply, sent, limits)
        found = self._recoverer.run({"reply": _batch(reply), "sent": _batch(sent)})
        took_ms = (perf_counter() - start) * 1e3
        if limits.min_seal_share is not None:
            integrity = judging.check_seal(integrity, found["seal"][0], limits)
        probability = np.asarray(found["probability"][0], dtype=np.float32)
        return make_result(self.manifest, probability, integrity, size=size, timings_ms={"recover": took_ms})

    def probability(self, reply: Image, *, sent: Image) -> NDArray[np.float32]:
        """What the recover network finds, without judging the reply: for measurements, not for results.

        Args:
            reply: uint8 (S, S, 3), RGB.
            sent: uint8 (S, S, 3), RGB.

        Returns:
            float32, (S, S) of each pixel's belonging to the mask or (K,) of each class, in [0, 1].

        Raises:
            ImageError: An image has another shape or dtype.
            EngineError: The engine failed.
        """
        check_photo(reply, "reply", self.image_size_px)
        check_photo(sent, "sent", self.image_size_px)
        reply = veil.bare(reply, sent, self.manifest.veil)
        found = self._recoverer.run({"reply": _batch(reply), "sent": _batch(sent)})["probability"][0]
        return np.asarray(found, dtype=np.float32)

    def send(
        self,
        secret: Image,
        url: str | Transport,
        *,
        covers: CoverPool | None = None,
        cover: Image | None = None,
        allow_reuse: bool = False,
        public_key_ok: bool = False,
        token: str | None = None,
    ) -> Result:
        """Make the whole trip: take a cover, hide, send, receive, recover.

        Args:
            secret: uint8 (H, W, 3), RGB, at least 32 px a side.
            url: The server's address, or a `Transport` with settings of its own, which then count.
            covers: The pool that gives the cover. A secret that was sent before gets its old cover, so that
                sending again repeats the identical photo.
            cover: Or one cover, recorded in the user's ledger.
            allow_reuse: Take `cover` even if it carries another secret, and record nothing.
            public_key_ok: Send to other machines with weights that anyone can download.
            token: Bearer token of the server.

        Returns:
            The result, its mask at the secret's own size.

        Raises:
            ImageError, CoverError, TransportError, ReplyError, EngineError: As the steps do.
        """
        from hidemia.runtime import trip  # noqa: PLC0415  it brings httpx, for those who send

        return trip.send(
            self,
            secret,
            url,
            covers=covers,
            cover=cover,
            allow_reuse=allow_reuse,
            public_key_ok=public_key_ok,
            token=token,
        )

    def stream(
        self,
        frames: Iterable[Image],
        url: str | Transport,
        *,
        covers: CoverPool,
        count: int | None = None,
        rate: float | None = None,
        duration_s: float | None = None,
        window: int = 8,
        stop_on_error: bool = False,
        public_key_ok: bool = False,
        token: str | None = None,
    ) -> Stream:
        """Make the trip of every frame, several at a time, in order.

        Args:
            frames: Secrets, uint8 (H, W, 3), RGB. Read in a thread of its own, never more than `window` ahead.
            url: The server's address, or a `Transport` with settings of its own, which then count.
            covers: The pool that gives each frame its cover.
            count: End after so many frames, for which the pool must have covers now.
            rate: Or the frames a second that will come,
            duration_s: and for how long: `count` is their product, rounded up.
            window: Frames that are on their way, or done and not yet taken, at most.
            stop_on_error: End after the first frame that failed; go on with the next one otherwise.
            public_key_ok: Send to other machines with weights that anyone can download.
            token: Bearer token of the server.

        Returns:
            An iterator of `Frame`, one for each frame, in order: a result or the error that it met. Use it as a
            context, or close it.

        Raises:
            CoverError: The pool cannot feed it; nothing was sent.
            TransportError: The address is wrong or must not be sent to.
        """
        from hidemia.runtime import stream  # noqa: PLC0415  it brings httpx, for those who send

        return stream.start(
            self,
            frames,
            url,
            covers=covers,
            count=stream.frame_count(count, rate, duration_s),
            window=window,
            stop_on_error=stop_on_error,
            public_key_ok=public_key_ok,
            token=token,
        )

    # Engines are called from threads in any case, for they block; so the trip needs no second, asynchronous code.

    async def hide_async(self, secret: Image, cover: Image) -> Image:
        """As `hide`, in a thread."""
        return await _in_thread(self.hide, secret, cover)

    async def recover_async(self, reply: Image, *, sent: Image, size: tuple[int, int] | None = None) -> Result:
        """As `recover`, in a thread."""
        return await _in_thread(self.recover, reply, sent=sent, size=size)

    async def send_async(self, secret: Image, url: str | Transport, **settings: Any) -> Result:
        """As `send`, in a thread."""
        return await _in_thread(self.send, secret, url, **settings)

    async def stream_async(
        self, frames: Iterable[Image] | AsyncIterable[Image], url: str | Transport, **settings: Any
    ) -> AsyncGenerator[Frame, None]:
        """As `stream`, from an iterable or an asynchronous one. Cancelling it sends no further frame."""
        from hidemia.runtime import stream_async  # noqa: PLC0415  it brings httpx, for those who send

        async with contextlib.aclosing(stream_async.run(self, frames, url, settings)) as outcomes:
            async for frame in outcomes:
                yield frame

    def close(self) -> None:
        """Give both engines' memory back."""
        with contextlib.ExitStack() as closing:  # the second one too when the first one fails
            closing.callback(self._hider.close)
            closing.callback(self._recoverer.close)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _batch(image: Image) -> Image:
    return np.ascontiguousarray(image[None])


async def _in_thread(call: Callable[..., T], *arguments: Any, **settings: Any) -> T:
    import asyncio  # noqa: PLC0415  a fifth of the time that this package takes to start, for those who use it

    return await asyncio.to_thread(call, *arguments, **settings)
