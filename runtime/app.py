"""The photo service: `POST /v1/photos` takes one PNG and answers one PNG.

Health and metrics are an app of their own. Nothing on the wire says what it is for: error bodies are neutral,
and reasons go to the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hidemia.runtime import headers, png
from hidemia.runtime.arrays import Image
from hidemia.runtime.batching import Batcher, Batching, Busy
from hidemia.runtime.errors import HidemiaError, ImageError
from hidemia.runtime.metrics import CONTENT_TYPE, Metrics
from hidemia.runtime.server import Server
from hidemia.runtime.transport import PATH

__all__ = ["PhotoService", "Settings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a photo service treats its callers.

    Attributes:
        max_batch_size: Most photos of one engine call.
        batch_wait_timeout_ms: How long the first photo of a batch waits for company.
        queue_size: Photos that may wait; one more gets 503.
        deadline_s: For receiving a photo, and again for answering it.
        max_body_bytes: A longer body gets 413.
        token: Bearer token that every photo must come with; none is asked for when None.
    """

    max_batch_size: int = 8
    batch_wait_timeout_ms: float = 2.0
    queue_size: int = 64
    deadline_s: float = 10.0
    max_body_bytes: int = 4 << 20
    token: str | None = field(default=None, repr=False)


class PhotoService:
    """Two Starlette apps over one analyzer.

    Args:
        server: The loaded analyzer.
        settings: How callers are treated.
        batching: Makes what gathers photos for the engine; takes what `Batcher` takes.

    Attributes:
        photos: The app for the main port. Its lifespan starts and ends the batching.
        health: The app with `/healthz`, `/readyz` and `/metrics`.
        stopping: Set it when the server begins to shut down, so that no more photos are sent here.
    """

    def __init__(
        self, server: Server, settings: Settings | None = None, batching: Callable[..., Batching] = Batcher
    ) -> None:
        self.server = server
        self.settings = settings or Settings()
        self.metrics = Metrics(lambda: self.batcher.waiting if self.batcher else 0)
        self.batcher: Batching | None = None
        self._batching = batching
        self.stopping = False
        self.photos = Starlette(routes=[Route(PATH, self._photo, methods=["POST"])], lifespan=self._lifespan)
        self.health = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._metrics),
            ]
        )

    @property
    def is_ready(self) -> bool:
        """Whether photos are accepted."""
        return not self.stopping and self.batcher is not None and self.batcher.is_open

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        settings = self.settings
        self.batcher = self._batching(
            self.server.analyze,
            max_batch_size=settings.max_batch_size,
            batch_wait_timeout_ms=settings.batch_wait_timeout_ms,
            queue_size=settings.queue_size,
            deadline_s=settings.deadline_s,
            observe=self.metrics.ran,
        )
        try:
            yield
        finally:
            await run_in_threadpool(self.batcher.close)

    async def _photo(self, request: Request) -> Response:
        start = perf_counter()
        reason = ""
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            response, reason = Response(status_code=499), "the client went away"  # nobody will read it
        except _Refusal as refusal:
            reason = refusal.reason
            response = PlainTextResponse(refusal.detail, refusal.status_code, refusal.headers)
        took = perf_counter() - start
        self.metrics.answered(response.status_code, took)
        level = logging.INFO if response.status_code == 200 else logging.WARNING
        logger.log(level, "%d in %.1f ms%s", response.status_code, took * 1e3, reason and f": {reason}")
        return response

    async def _answer(self, request: Request) -> Response:
        self._check_headers(request)
        body = await self._body(request)
        stego = await run_in_threadpool(self._decode, body)
        reply = await self._analyze(request, stego)
        answer = await run_in_threadpool(png.encode, reply)
        return Response(
            answer,
            media_type="image/png",
            headers={"ETag": self.server.manifest.etag, "Cache-Control": "no-store"},
        )

    def _check_headers(self, request: Request) -> None:
        token = self.settings.token
        if token is not None:
            got = request.headers.get("authorization", "")
            if not hmac.compare_digest(got.encode(), f"Bearer {token}".encode()):
                raise _Refusal(401, "unauthorized", "no or another token", {"WWW-Authenticate": "Bearer"})
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "image/png" or request.headers.get("content-encoding", "identity") != "identity":
            raise _Refusal(415, "image/png only", f"content type {kind[:40]!r}")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and (len(length) > 18 or int(length) > self.settings.max_body_bytes):
            raise _Refusal(413, "too large", f"content length {length}")

    async def _body(self, request: Request) -> bytes:
        """Receive the body, within its size and its time, whatever its headers claim."""

        async def receive() -> bytes:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > self.settings.max_body_bytes:
                    raise _Refusal(413, "too large", f"more than {self.settings.max_body_bytes} bytes")
            return bytes(body)

        try:
            return await asyncio.wait_for(receive(), self.settings.deadline_s)
        except asyncio.TimeoutError:
            raise _Refusal(408, "too slow", f"no whole body in {self.settings.deadline_s:g} s") from None

    def _decode(self, body: bytes) -> Image:
        try:
            header = headers.read(body, "photo")
            if header.format != "PNG":
                raise _Refusal(415, "image/png only", f"a {header.format}")
            size = self.server.image_size_px
            if (header.width, header.height) != (size, size):
                raise _Refusal(400, "unsupported size", f"{header.width}x{header.height}, expected {size}x{size}")
            return png.decode(body, name="photo")
        except ImageError as error:
            raise _Refusal(400, "unreadable image", str(error)) from None

    async def _analyze(self, request: Request, stego: Image) -> Image:
        assert self.batcher is not None  # noqa: S101  set by the lifespan, before the first request
        try:
            future = self.batcher.submit(stego)
            return await self._wait(request, future)
        except Busy as busy:
            raise _Refusal(503, "busy", str(busy), {"Retry-After": "1"}) from None
        except HidemiaError as error:
            raise _Refusal(500, "failed", str(error)) from None

    async def _wait(self, request: Request, future: Future[Image] | asyncio.Future[Image]) -> Image:
        """Wait for the reply, the deadline, or the client to go away, whichever is first."""
        reply = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_disconnect(request))
        either: set[asyncio.Future[Any]] = {reply, gone}
        try:
            # The worker drops what is late in the queue; this is for a photo that is late in the engine.
            await asyncio.wait(either, timeout=self.settings.deadline_s, return_when=asyncio.FIRST_COMPLETED)
            if reply.done():
                return reply.result()
            if gone.done():
                raise ClientDisconnect
            raise Busy(f"no reply in {self.settings.deadline_s:g} s")
        finally:
            gone.cancel()
            reply.cancel()  # cancels the job too, if it is not in a batch yet

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok")

    async def _readyz(self, _: Request) -> Response:
        return PlainTextResponse("ready") if self.is_ready else PlainTextResponse("not ready", 503)

    async def _metrics(self, _: Request) -> Response:
        return Response(self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


class _Refusal(HTTPException):
    """A neutral answer for the wire, with its reason for the log."""

    def __init__(self, status: int, body: str, reason: str, response_headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body, response_headers)
        self.reason = reason


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
