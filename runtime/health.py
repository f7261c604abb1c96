"""Health and metrics, an app of its own for a port of its own."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hidemia.runtime.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from hidemia.runtime.app import PhotoService
    from hidemia.runtime.audit import AuditLog

__all__ = ["health_app"]


def health_app(service: PhotoService) -> Starlette:
    """Make the app with `/healthz`, `/readyz` and `/metrics` of a photo service."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def readyz(_: Request) -> Response:
        ready = service.is_ready and await run_in_threadpool(_can_audit, service.audit)
        return PlainTextResponse("ready") if ready else PlainTextResponse("not ready", 503)

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _can_audit(audit: AuditLog | None) -> bool:
    """Whether the audit log takes lines; a failing one is tried again here, where no photo depends on it."""
    if audit is not None and audit.is_failing:
        with contextlib.suppress(OSError):
            audit.reopen()
    return audit is None or not audit.is_failing
