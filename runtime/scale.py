"""The photo service on Ray Serve: the same app and the same analyzer, with batches, replicas and scaling by Ray.

serve run hidemia.runtime.scale:app server=bundles/busi/server min_replicas=2 max_replicas=8
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from ray import serve
from ray.serve import Application
from ray.serve.config import BackpressureConfig
from starlette.applications import Starlette

from hidemia.runtime import defaults
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.arguments import usage_error
from hidemia.runtime.arrays import Image
from hidemia.runtime.batching import Busy, analyze_batch
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.manifest import Precision
from hidemia.runtime.server import Server, default_batching
from hidemia.runtime.verbs import TOKEN_VARIABLE, read_token

__all__ = ["Options", "Photos", "RayBatcher", "app"]

# Ray reads it when a cluster starts: nothing about the cluster of a hospital leaves the hospital.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# What Ray counts as a GPU.
_NVIDIA = ("cuda", "tensorrt", "pycuda")

T = TypeVar("T")


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a cluster is told beside `Settings` and `EngineSettings`.

    Attributes:
        server: The bundle's folder, the same on every node; the packaged one when None.
        precision: The manifest's first when None.
        token_file: Holds the bearer token, on every node; the token of the node's environment when None.
        insecure: Serve without a token.
        shared_ok: Load a private bundle although other accounts on a node can read it.
        min_replicas: Never fewer.
        max_replicas: Ray adds replicas up to this many as photos come in; `min_replicas` when None.
    """

    server: str | None = None
    precision: Precision | None = None
    token_file: str | None = None
    insecure: bool = False
    shared_ok: bool = False
    min_replicas: int = 2
    max_replicas: int | None = None

    @property
    def token(self) -> str | None:
        """The bearer token, read on the node that asks."""
        return None if self.insecure else read_token(Path(self.token_file) if self.token_file else None)


class RayBatcher:
    """`Batcher`'s counterpart in a replica: `serve.batch` gathers the photos on the replica's event loop.

    Its arguments are `Batcher`'s.
    """

    def __init__(
        self,
        analyze: Callable[[Image], Image],
        *,
        max_batch_size: int,
        batch_wait_timeout_ms: float,
        queue_size: int,
        deadline_s: float,
        observe: Callable[[int, float, float], None] | None = None,
    ) -> None:
        self.is_open = True
        self.has_failed = False
        self._analyze = analyze
        self._queue_size = queue_size
        self._deadline_s = deadline_s
        self._observe = observe
        self._jobs: set[_Job] = set()
        self._engine = ThreadPoolExecutor(1, "analyze")  # the one thread that owns it
        self._batched = serve.batch(max_batch_size=max_batch_size, batch_wait_timeout_s=batch_wait_timeout_ms / 1e3)(
            self._run
        )

    @property
    def waiting(self) -> int:
        """Photos in the queue."""
        return len(self._jobs)

    def submit(self, stego: Image) -> asyncio.Future[Image]:
        """Queue a photo; see `Batcher.submit`."""
        if not self.is_open:
            raise Busy("the replica shuts down", "stopping")
        if self.waiting >= self._queue_size:
            raise Busy(f"the queue of {self._queue_size} is full", "full")
        job = _Job(stego, monotonic())
        self._jobs.add(job)
        return asyncio.ensure_future(self._reply(job))

    def close(self) -> None:
        """Refuse new photos; Ray itself waits for those accepted."""
        self.is_open = False
        self._engine.shutdown()

    async def _reply(self, job: _Job) -> Image:
        try:
            reply: Image | None = await self._batched(job)
        finally:
            self._jobs.discard(job)
        if reply is None:
            raise Busy(f"the photo waited longer than {self._deadline_s:g} s", "late")
        return reply

    async def _run(self, jobs: Sequence[_Job]) -> list[Image | None]:
        """One engine call for those that are not too late; who went away is no longer among them."""
        start = monotonic()
        self._jobs.difference_update(jobs)
        batch = [job for job in jobs if start <= job.arrived + self._deadline_s]
        if not batch:
            return [None] * len(jobs)
        self.has_failed = True
        photos = [job.stego for job in batch]
        replies = await asyncio.get_running_loop().run_in_executor(self._engine, analyze_batch, self._analyze, photos)
        self.has_failed = False
        if self._observe:
            self._observe(len(batch), start - min(job.arrived for job in batch), monotonic() - start)
        of_job = dict(zip(batch, replies, strict=True))
        return [of_job.get(job) for job in jobs]


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    stego: Image
    arrived: float


@serve.ingress()
class Photos:
    """A replica: the analyzer, loaded, and the photo service over it.

    Raises:
        HidemiaError: As `Server.load` and `read_token` do; Ray then starts no replica.
    """

    def __init__(self, options: Options, settings: Settings, engine: EngineSettings) -> None:
        logging.getLogger("hidemia").setLevel(logging.INFO)
        server = Server.load(
            options.server or defaults.bundle("server"),
            precision=options.precision,
            engine=engine,
            shared_ok=options.shared_ok,
        )
        self._black = np.zeros((server.image_size_px, server.image_size_px, 3), np.uint8)
        server.analyze(self._black)  # the first run is the slowest, and should fail before anybody asks
        self._service = PhotoService(server, dataclasses.replace(settings, token=options.token), batching=RayBatcher)

    def __serve_build_asgi_app__(self) -> Starlette:
        """What Ray mounts once the replica is made."""
        return self._service.photos

    async def check_health(self) -> None:
        """Ray calls it every few seconds and replaces a replica whose engine fails on a black photo too."""
        batcher = self._service.batcher
        if isinstance(batcher, RayBatcher) and batcher.has_failed:
            await batcher.submit(self._black)


def app(arguments: Mapping[str, Any]) -> Application:
    """Build the application. Ray calls it with the `key=value` pairs of `serve run`, or `args` of a config file.

    Args:
        arguments: Fields of `Options`, of `EngineSettings` and of `Settings` but its token.

    Raises:
        HidemiaError: One that is unknown or of another type, no token, or fewer replicas at most than at least.
    """
    rest = {"threads": 1, **arguments}
    engine = _take(rest, EngineSettings)
    rest.setdefault("max_batch_size", default_batching(engine)[0])
    token = rest.pop("token", None)
    settings = _take(rest, Settings)
    options = _convert(rest, Options)
    most = options.max_replicas or options.min_replicas
    if token is not None:
        raise usage_error("token: expected it in a file or the environment, which others cannot read; set token_file")
    if not 1 <= options.min_replicas <= most:
        raise usage_error(f"min_replicas: expected 1 to max_replicas, got {options.min_replicas} and {most}; fix them")
    if not options.insecure and not options.token:
        raise usage_error(
            f"token: expected one for a cluster, got none; set token_file or {TOKEN_VARIABLE}, or insecure=true"
        )
    deployment = serve.deployment(
        Photos,
        name="photos",
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": most,
            "target_ongoing_requests": max(2, settings.max_batch_size),  # one in the engine, one on its way
        },
        # The app's own limits come first: it refuses before Ray holds photos back from a replica.
        max_ongoing_requests=settings.queue_size + 3 * settings.max_batch_size,
        max_queued_requests=settings.queue_size,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        ray_actor_options={"num_cpus": engine.threads, "num_gpus": int(engine.device in _NVIDIA)},
    )
    application: Application = deployment.bind(options, settings, engine)
    return application


def _take(arguments: dict[str, Any], kind: type[T]) -> T:
    """Take the fields of a settings class out of the arguments."""
    names = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return _convert({name: arguments.pop(name) for name in list(arguments) if name in names}, kind)


def _convert(arguments: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(arguments, kind, strict=False)  # text on a command line, numbers in a file
    except msgspec.ValidationError as error:
        raise usage_error(f"serve run: {error}; see docs/scale.md") from None
