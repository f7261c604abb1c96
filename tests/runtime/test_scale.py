"""What a replica does, in this process; `tests/soak/ray_cluster.py` does it on a real cluster."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import httpx
import numpy as np
import pytest

from hidemia.runtime import EngineError, HidemiaError, png
from hidemia.runtime.app import PhotoService, Settings
from hidemia.runtime.engine import EngineSettings

scale = pytest.importorskip("hidemia.runtime.scale", reason="ray[serve] is not installed")

PNG = {"Content-Type": "image/png"}


@pytest.fixture(autouse=True)
def replica(monkeypatch):
    """`serve.batch` asks which replica it is in."""
    from ray.serve import batching, context
    from ray.serve._private.common import DeploymentID, ReplicaID
    from ray.serve._private.config import DeploymentConfig

    # Its finalizer makes an event loop, never closed, in whatever thread the collector happens to run.
    monkeypatch.delattr(batching._BatchQueue, "__del__")
    monkeypatch.setattr(context, "_INTERNAL_REPLICA_CONTEXT", None)
    context._set_internal_replica_context(
        replica_id=ReplicaID("one", DeploymentID("photos", "default")),
        servable_object=None,
        _deployment_config=DeploymentConfig(max_ongoing_requests=100),
        rank=None,
        world_size=1,
    )
    yield
    gc.collect()


class Slow:
    """A server whose engine waits for `gate`, and raises what is in `errors`."""

    def __init__(self, server):
        self.manifest, self.image_size_px = server.manifest, server.image_size_px
        self._server = server
        self.gate, self.entered = threading.Event(), threading.Event()
        self.sizes, self.threads, self.errors = [], set(), []

    def analyze(self, photos):
        self.sizes.append(len(photos))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(60)
        if self.errors:
            raise self.errors.pop()
        return self._server.analyze(photos)


@pytest.fixture
def slow(server) -> Slow:
    return Slow(server)


@pytest.fixture
def http():
    with httpx.Client(timeout=60, trust_env=False) as http:
        yield http


@pytest.fixture
def body(tiny, rng) -> bytes:
    return png.encode(tiny.photo(rng))


def post(http, url, body):
    return http.post(f"{url}/v1/photos", content=body, headers=PNG)


def service(server, **settings) -> PhotoService:
    return PhotoService(server, Settings(**settings), batching=scale.RayBatcher)


def test_concurrent_photos_share_calls_and_keep_apart(slow, server, tiny, http):
    rng = np.random.default_rng(2)
    photos = [tiny.photo(rng) for _ in range(13)]
    photos_service = service(slow, max_batch_size=4, batch_wait_timeout_ms=200)
    with tiny.running(photos_service.photos) as url, ThreadPoolExecutor(13) as pool:
        answers = [pool.submit(post, http, url, png.encode(photo)) for photo in photos]
        assert slow.entered.wait(60)
        slow.gate.set()
        for photo, answer in zip(photos, answers, strict=True):
            assert np.array_equal(png.decode(answer.result().content), server.analyze(photo))
    assert sum(slow.sizes) == 13
    assert len(slow.sizes) < 13
    assert max(slow.sizes) <= 4
    assert slow.threads == {"analyze_0"}
    assert photos_service.metrics.registry.get_sample_value("photo_batch_size_sum") == 13


def test_a_full_queue_gives_503_with_retry_after(slow, tiny, http, body):
    photos_service = service(slow, max_batch_size=1, queue_size=1)
    with tiny.running(photos_service.photos) as url, ThreadPoolExecutor(2) as pool:
        accepted = [pool.submit(post, http, url, body)]
        assert slow.entered.wait(60)
        accepted.append(pool.submit(post, http, url, body))
        while photos_service.batcher.waiting < 1:
            time.sleep(0.005)
        answer = post(http, url, body)
        assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "busy", "1")
        slow.gate.set()
        assert [future.result().status_code for future in accepted] == [200, 200]


def test_a_late_photo_and_one_whose_client_left_join_no_batch(slow, tiny, http, body):
    with tiny.running(service(slow, max_batch_size=1, deadline_s=1).photos) as url:
        assert post(http, url, body).status_code == 503
        with httpx.Client(timeout=0.2, trust_env=False) as impatient, pytest.raises(httpx.TimeoutException):
            post(impatient, url, body)
        slow.gate.set()
        while post(http, url, body).status_code != 200:
            time.sleep(0.05)
    assert slow.sizes == [1] * len(slow.sizes)


@pytest.mark.parametrize("error", [EngineError("the engine: broke"), RuntimeError("boom")])
def test_a_failing_engine_gives_500_and_the_replica_goes_on(slow, tiny, http, body, error):
    slow.gate.set()
    slow.errors.append(error)
    photos_service = service(slow)
    with tiny.running(photos_service.photos) as url:
        answer = post(http, url, body)
        assert (answer.status_code, answer.text) == (500, "failed")
        assert photos_service.batcher.has_failed
        assert post(http, url, body).status_code == 200
        assert not photos_service.batcher.has_failed
    assert not photos_service.is_ready


def test_ray_replaces_a_replica_whose_engine_stays_broken(model, monkeypatch):
    monkeypatch.setenv("HIDEMIA_TOKEN", "s3cret")

    async def look() -> None:
        options = scale.Options(server=str(model.server))
        photos = scale.Photos.__mro__[1](options, Settings(), EngineSettings(threads=1))
        assert photos._service.settings.token == "s3cret"
        async with photos._service.photos.router.lifespan_context(photos._service.photos):
            await photos.check_health()  # nothing was asked yet
            photos._service.batcher.has_failed = True
            await photos.check_health()  # it works again
            assert not photos._service.batcher.has_failed
            photos._service.batcher.has_failed = True
            photos._service.batcher._analyze = lambda _: None
            with pytest.raises(EngineError):
                await photos.check_health()

    asyncio.run(look())


def test_what_ray_is_told(monkeypatch):
    monkeypatch.setenv("HIDEMIA_TOKEN", "s3cret")
    asked = {"max_replicas": "4", "max_batch_size": "16", "queue_size": "32", "threads": "2", "device": "cuda"}
    deployment = scale.app(asked)._bound_deployment
    config = deployment._deployment_config
    assert deployment.name == "photos"
    assert (config.autoscaling_config.min_replicas, config.autoscaling_config.max_replicas) == (2, 4)
    assert config.max_ongoing_requests > 32 + 16  # so that a full queue is the app's to refuse
    assert deployment.ray_actor_options["num_cpus"] == 2
    assert deployment.ray_actor_options["num_gpus"] == 1
    assert "s3cret" not in str(deployment.init_args)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "token: expected one for a cluster, got none; set token_file or HIDEMIA_TOKEN, or insecure=true"),
        ({"token": "x"}, "token: expected it in a file or the environment, which others cannot read; set token_file"),
        ({"insecure": "true", "replicas": "2"}, "serve run: Object contains unknown field `replicas`"),
        (
            {"insecure": "true", "max_batch_size": "many"},
            "serve run: Expected `int`, got `str` - at `$.max_batch_size`",
        ),
        ({"insecure": "true", "device": "tpu"}, "device: expected one of"),
        ({"insecure": "true", "min_replicas": 3, "max_replicas": 2}, "min_replicas: expected 1 to max_replicas, got 3"),
        ({"token_file": "/nowhere"}, "--token-file /nowhere: expected a readable token"),
    ],
)
def test_calls_that_are_refused(arguments, message):
    with pytest.raises(HidemiaError) as caught:
        scale.app(arguments)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_ray_reports_to_nobody():
    import os

    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_the_keys_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    table = page.partition("## Knobs")[2].partition("\n\nA replica")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    told = {key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)}
    ours = {item.name for kind in (Settings, EngineSettings) for item in fields(kind)}
    assert told == (ours | set(scale.Options.__struct_fields__)) - {"token"}
