"""The photo service: `POST /v1/photos` takes one PNG and answers one PNG.

Health and metrics are an app of their own. Nothing on the wire says what it is for: error bodies are neutral,
and reasons go to the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hidemia.runtime import png
from hidemia.runtime.admission import Refusal, check_headers, decode, receive
from hidemia.runtime.arrays import Image
from hidemia.runtime.audit import AuditLog
from hidemia.runtime.batching import Batcher, Batching, Busy
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.health import health_app
from hidemia.runtime.metrics import Metrics
from hidemia.runtime.rate import RateLimit, caller
from hidemia.runtime.server import Server
from hidemia.runtime.transport import PATH
from hidemia.runtime.visit import Visit

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
        max_body_bytes: A longer body gets 413; when None, the most that a PNG of the network's size can need, twice.
        rate_limit_per_s: Photos a second of one caller's address; one more gets 503. No limit when None.
        token: Bearer token that every photo must come with; none is asked for when None.
    """

    max_batch_size: int = 8
    batch_wait_timeout_ms: float = 2.0
    queue_size: int = 64
    deadline_s: float = 10.0
    max_body_bytes: int | None = None
    rate_limit_per_s: float | None = None
    token: str | None = field(default=None, repr=False)


class PhotoService:
    """Two Starlette apps over one analyzer.

    Args:
        server: The loaded analyzer.
        settings: How callers are treated.
        audit: Where every photo that was received is recorded; no reply leaves that it could not record.
        batching: Makes what gathers photos for the engine; takes what `Batcher` takes.

    Attributes:
        photos: The app for the main port. Its lifespan starts and ends the batching.
        health: The app with `/healthz`, `/readyz` and `/metrics`.
        stopping: Set it when the server begins to shut down, so that no more photos are sent here.
    """

    def __init__(
        self,
        server: Server,
        settings: Settings | None = None,
        *,
        audit: AuditLog | None = None,
        batching: Callable[..., Batching] = Batcher,
    ) -> None:
        self.server = server
        self.settings = settings or Settings()
        self.audit = audit
        size = server.image_size_px
        self._max_body_bytes = self.settings.max_body_bytes or 2 * size * (3 * size + 1) + (64 << 10)
        rate = self.settings.rate_limit_per_s
        self._rate = None if rate is None else RateLimit(rate)
        # More than those that can be waited for would only fill the memory.
        self._max_open = self.settings.queue_size + 2 * self.settings.max_batch_size
        self._open = 0
        self.metrics = Metrics(lambda: self.batcher.waiting if self.batcher else 0)
        self.batcher: Batching | None = None
        self._batching = batching
        self.stopping = False
        self.photos = Starlette(routes=[Route(PATH, self._photo, methods=["POST"])], lifespan=self._lifespan)
        self.health = health_app(self)

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
        visit = Visit()
        reason = ""
        try:
            response = await self._admitted(request, visit)
        except ClientDisconnect:
            response, reason = Response(status_code=499), "the client went away"  # nobody will read it
        except Refusal as refusal:
            reason = refusal.reason
            response = PlainTextResponse(refusal.detail, refusal.status_code, refusal.headers)
            if refusal.why:
                self.metrics.busy(refusal.why)
        except Exception:
            # A bug. It must be counted, audited and answered like any failure, and its traceback goes to the log.
            logger.exception("a photo failed", extra={"fields": {"request": visit.request}})
            response, reason = PlainTextResponse("failed", 500), "see the traceback"
        if not await self._is_audited(visit, response.status_code) and response.status_code == 200:
            # A reply without a record would be lost to the audit; the client's identical retry loses nothing.
            response, reason = PlainTextResponse("busy", 503, {"Retry-After": "5"}), "the audit log cannot be written"
            self.metrics.busy("audit")
        response.headers["X-Request-Id"] = visit.request
        self._note(visit, response.status_code, reason)
        return response

    def _note(self, visit: Visit, status: int, reason: str) -> None:
        self.metrics.answered(status, visit.total_ms / 1e3)
        fields = {"request": visit.request, "status": status, "took_ms": visit.total_ms}
        level = logging.INFO if status == 200 else logging.WARNING
        text = f"{status} in {visit.total_ms:.1f} ms" + (f": {reason}" if reason else "")
        logger.log(level, text, extra={"fields": fields})

    async def _is_audited(self, visit: Visit, status: int) -> bool:
        """Record a photo that was received; what was refused before is in the log and the metrics alone."""
        if self.audit is None or visit.sent is None:
            return True
        try:
            await run_in_threadpool(lambda audit: audit.append(visit.entry(status)), self.audit)
        except OSError as error:
            self.metrics.unaudited()
            logger.error("the audit log cannot be written: %s", error, extra={"fields": {"request": visit.request}})
            return False
        return True

    async def _admitted(self, request: Request, visit: Visit) -> Response:
        check_headers(request.headers, token=self.settings.token, max_body_bytes=self._max_body_bytes)
        self._check_room(request)
        self._open += 1
        try:
            return await self._answer(request, visit)
        finally:
            self._open -= 1

    async def _answer(self, request: Request, visit: Visit) -> Response:
        visit.sent = await receive(request, max_body_bytes=self._max_body_bytes, deadline_s=self.settings.deadline_s)
        visit.lap("receive")
        stego = await run_in_threadpool(decode, visit.sent, self.server.image_size_px)
        visit.lap("decode")
        reply = await self._analyze(request, stego)
        visit.lap("analyze")
        visit.answer = await run_in_threadpool(png.encode, reply)
        visit.lap("encode")
        return Response(
            visit.answer,
            media_type="image/png",
            headers={"ETag": self.server.manifest.etag, "Cache-Control": "no-store"},
        )

    def _check_room(self, request: Request) -> None:
        if self._open >= self._max_open:
            raise Refusal(503, "busy", f"{self._open} photos are here already", {"Retry-After": "1"}, why="full")
        if self._rate is not None:
            wait_s = self._rate.take(caller(request.client.host if request.client else ""), monotonic())
            if wait_s:
                retry = {"Retry-After": str(math.ceil(wait_s))}
                raise Refusal(503, "busy", "a caller is over its rate", retry, why="rate")

    async def _analyze(self, request: Request, stego: Image) -> Image:
        assert self.batcher is not None  # noqa: S101  set by the lifespan, before the first request
        try:
            future = self.batcher.submit(stego)
            return await self._wait(request, future)
        except Busy as busy:
            raise Refusal(503, "busy", str(busy), {"Retry-After": "1"}, why=busy.why) from None
        except HidemiaError as error:
            raise Refusal(500, "failed", str(error)) from None

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
            raise Busy(f"no reply in {self.settings.deadline_s:g} s", "late")
        finally:
            gone.cancel()
            reply.cancel()  # cancels the job too, if it is not in a batch yet


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
