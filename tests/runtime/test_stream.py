from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from hidemia.runtime import CoverError, CoverPool, ImageError, ReplyError, TransportError, png
from hidemia.runtime.stream import frame_count
from hidemia.runtime.transport import Transport


@pytest.fixture
def pool(tmp_path, tiny, rng):
    """Sixteen tiles."""
    (tmp_path / "covers").mkdir()
    (tmp_path / "covers" / "a.png").write_bytes(png.encode(tiny.photo(rng, 256, 256)))
    return CoverPool(tmp_path / "covers", warn_below=1)


def frames(tiny, count):
    """Discs that move to the right: each frame's mask tells which one it is."""
    return [np.roll(tiny.secret(), 2 * index, axis=1) for index in range(count)]


def is_mask_of(frame, secret):
    return np.array_equal(frame.result.mask > 0, secret[..., 0] > 128)


class Analysis:
    """A photo service whose answers a test may hold back, by the order in which the photos come."""

    def __init__(self, server, answer=None):
        self.server = server
        self.answer = answer or (lambda number: None)
        self.bodies: list[bytes] = []
        self.app = Starlette(routes=[Route("/v1/photos", self.photo, methods=["POST"])])

    async def photo(self, request: Request) -> Response:
        body = await request.body()
        self.bodies.append(body)
        response = self.answer(len(self.bodies) - 1)
        if asyncio.iscoroutine(response):
            response = await response
        if response is not None:
            return response
        reply = png.encode(self.server.analyze(png.decode(body)))
        return Response(reply, media_type="image/png", headers={"ETag": self.server.manifest.etag})


def test_every_frame_in_order(client, service_url, pool, tiny):
    secrets = frames(tiny, 12)
    with client.stream(secrets, service_url, covers=pool, window=4) as stream:
        outcomes = list(stream)
    assert [frame.index for frame in outcomes] == list(range(12))
    assert all(is_mask_of(frame, secret) for frame, secret in zip(outcomes, secrets, strict=True))
    assert set(outcomes[0].result.timings_ms) == {"cover", "hide", "encode", "exchange", "decode", "recover"}


def test_order_holds_when_answers_come_in_another(client, server, pool, tiny):
    async def slow_at_first(number):
        await asyncio.sleep(0.3 if number == 0 else 0.0)

    secrets = frames(tiny, 4)
    with tiny.running(Analysis(server, slow_at_first).app) as url, client.stream(secrets, url, covers=pool) as stream:
        outcomes = list(stream)
    assert [frame.index for frame in outcomes] == [0, 1, 2, 3]
    assert all(is_mask_of(frame, secret) for frame, secret in zip(outcomes, secrets, strict=True))


def test_several_are_on_their_way_at_once(client, server, pool, tiny):
    """Nobody is answered before three have come: one at a time would never end."""
    three = asyncio.Event()

    async def wait_for_three(number):
        if number == 2:
            three.set()
        await asyncio.wait_for(three.wait(), 10)

    with (
        tiny.running(Analysis(server, wait_for_three).app) as url,
        client.stream(frames(tiny, 3), url, covers=pool, window=3) as stream,
    ):
        assert [frame.error for frame in stream] == [None, None, None]


@pytest.mark.parametrize("window", [1, 3])
def test_never_reads_further_ahead_than_the_window(client, service_url, pool, tiny, window):
    read = []

    def camera():
        for index, frame in enumerate(frames(tiny, 9)):
            read.append(index)
            yield frame

    with client.stream(camera(), service_url, covers=pool, window=window) as stream:
        for taken, frame in enumerate(stream):
            assert frame.error is None
            time.sleep(0.02)  # time in which it could read on
            assert len(read) <= taken + 1 + window
    assert len(read) == 9


def test_frames_do_not_pile_up_in_memory(client, service_url, pool, tiny):
    """Of an endless film only a window's frames are alive, although the caller is slow."""
    alive = set()

    class Film(np.ndarray):
        pass

    def camera():
        for index in itertools.count():
            frame = np.roll(tiny.secret(), index % 8, axis=1).view(Film)
            alive.add(index)
            weakref.finalize(frame, alive.remove, index)
            yield frame

    with client.stream(camera(), service_url, covers=pool, window=2) as stream:
        for _ in range(8):
            next(stream)
        time.sleep(0.05)
        gc.collect()
        assert len(alive) <= 4


def test_a_frame_that_failed_is_named_and_the_others_go_on(client, service_url, pool, tiny):
    secrets = frames(tiny, 5)
    secrets[1] = secrets[1][..., 0]
    secrets[3] = secrets[3][:20]
    with client.stream(secrets, service_url, covers=pool) as stream:
        outcomes = list(stream)
    assert [frame.index for frame in outcomes if frame.error is None] == [0, 2, 4]
    assert [type(outcomes[index].error) for index in (1, 3)] == [ImageError, ImageError]
    assert "got uint8 (64, 64)" in str(outcomes[1].error)
    assert outcomes[1].result is None


def test_a_wrong_answer_fails_its_frame_alone(client, server, pool, tiny):
    def damaged_second(number):
        return (
            Response(b"no photo", media_type="image/png", headers={"ETag": client.manifest.etag})
            if number == 1
            else None
        )

    with (
        tiny.running(Analysis(server, damaged_second).app) as url,
        client.stream(frames(tiny, 3), url, covers=pool, window=1) as stream,
    ):
        errors = [type(frame.error) for frame in stream]
    assert errors == [type(None), ReplyError, type(None)]


def test_it_stops_at_the_first_error_when_asked(client, service_url, pool, tiny):
    secrets = frames(tiny, 6)
    secrets[2] = None
    with client.stream(secrets, service_url, covers=pool, stop_on_error=True) as stream:
        outcomes = list(stream)
    assert [frame.index for frame in outcomes] == [0, 1, 2]
    assert isinstance(outcomes[2].error, ImageError)


def test_a_busy_server_loses_no_frame_and_sees_the_same_photos_again(client, server, pool, tiny):
    """More refusals than a photo has attempts."""
    busy = PlainTextResponse("busy", 503, {"Retry-After": "0"})
    analysis = Analysis(server, lambda number: busy if number < 12 else None)
    secrets = frames(tiny, 3)
    with (
        tiny.running(analysis.app) as url,
        Transport(url, attempts=1) as carrier,
        client.stream(secrets, carrier, covers=pool) as stream,
    ):
        outcomes = list(stream)
    assert all(is_mask_of(frame, secret) for frame, secret in zip(outcomes, secrets, strict=True))
    assert len(analysis.bodies) == 15
    assert len(set(analysis.bodies)) == 3


def test_a_server_that_is_not_there_fails_every_frame(client, pool, tiny):
    with (
        Transport("http://127.0.0.1:9", attempts=1) as carrier,
        client.stream(frames(tiny, 2), carrier, covers=pool) as stream,
    ):
        assert [type(frame.error) for frame in stream] == [TransportError, TransportError]


def test_covers_that_end_on_the_way(client, service_url, pool, tiny):
    secrets = frames(tiny, 18)
    with client.stream(secrets, service_url, covers=pool) as stream:
        outcomes = list(stream)
    failed = [frame.index for frame in outcomes if isinstance(frame.error, CoverError)]
    assert failed == [16, 17]


def test_a_pool_that_cannot_feed_it_is_refused_before_anything_is_sent(client, server, pool, tiny):
    analysis = Analysis(server)
    with tiny.running(analysis.app) as url:
        with pytest.raises(CoverError) as caught:
            client.stream(frames(tiny, 2), url, covers=pool, rate=2.5, duration_s=7)
        assert str(caught.value) == (
            f"{pool.folder}: expected 18 unused tiles of 64x64 px, got 16 in 1 photos; "
            "add private photos or ask for fewer frames"
        )
        assert analysis.bodies == []
        with client.stream(itertools.cycle(frames(tiny, 16)), url, covers=pool, rate=2, duration_s=8) as stream:
            assert sum(frame.error is None for frame in stream) == 16
        with pytest.raises(CoverError, match="expected 1 unused tiles of 64x64 px, got 0"):
            client.stream(frames(tiny, 1), url, covers=pool, count=1)


@pytest.mark.parametrize(
    ("numbers", "count"),
    [((None, None, None), None), ((7, None, None), 7), ((None, 30.0, 2.0), 60), ((None, 0.3, 4.0), 2)],
)
def test_frame_count(numbers, count):
    assert frame_count(*numbers) == count


@pytest.mark.parametrize(
    "numbers", [(0, None, None), (1, 1.0, 1.0), (None, 1.0, None), (None, 0.0, 1.0), (None, 1.0, float("inf"))]
)
def test_a_frame_count_that_is_none(numbers):
    with pytest.raises(CoverError, match="stream: expected a ") as caught:
        frame_count(*numbers)
    assert caught.value.exit_code == 2


def test_what_the_camera_raises_comes_out_after_its_frames(client, service_url, pool, tiny):
    def camera():
        yield from frames(tiny, 2)
        raise OSError("the camera fell off")

    with client.stream(camera(), service_url, covers=pool) as stream:
        assert next(stream).error is None
        assert next(stream).error is None
        with pytest.raises(OSError, match="fell off"):
            next(stream)
        with pytest.raises(StopIteration):
            next(stream)


def test_closing_sends_no_more_and_leaves_no_thread(client, server, pool, tiny):
    analysis = Analysis(server)
    before = threading.active_count()
    with tiny.running(analysis.app) as url:
        with client.stream(itertools.cycle(frames(tiny, 9)), url, covers=pool, window=2) as stream:
            next(stream)
        sent = len(analysis.bodies)
        assert list(stream) == []
        time.sleep(0.1)
        assert len(analysis.bodies) == sent
    assert threading.active_count() == before


def test_closing_while_another_thread_waits(client, pool, tiny):
    """A camera that gives nothing: the waiting thread is woken."""
    silent = threading.Event()
    stream = client.stream(iter(lambda: silent.wait(10), None), "http://127.0.0.1:9", covers=pool)
    waiting = threading.Thread(target=lambda: list(stream))
    waiting.start()
    stream.close()
    waiting.join(5)
    assert not waiting.is_alive()
    silent.set()


def test_closing_ends_the_retries(client, server, pool, tiny):
    busy = PlainTextResponse("busy", 503, {"Retry-After": "30"})
    analysis = Analysis(server, lambda number: busy)
    with tiny.running(analysis.app) as url, client.stream(frames(tiny, 1), url, covers=pool) as stream:
        while not analysis.bodies:
            time.sleep(0.01)
        start = time.monotonic()
        stream.close()
        assert time.monotonic() - start < 20
    assert len(analysis.bodies) == 1


def test_nothing_starts_with_a_wrong_address(client, pool, tiny):
    before = threading.active_count()
    with pytest.raises(TransportError):
        client.stream(frames(tiny, 1), "http://10.0.0.1:1", covers=pool)
    with pytest.raises(CoverError, match="window of at least 1, got 0"):
        client.stream(frames(tiny, 1), "http://127.0.0.1:1", covers=pool, window=0)
    assert threading.active_count() == before


def test_a_stream_that_cannot_start_keeps_no_connection(client, service_url, pool, tiny, monkeypatch):
    """No thread can be started: what was opened for the stream is closed again."""
    opened = []

    class Seen(Transport):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            opened.append(self._client)

    def no_more(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("hidemia.runtime.stream.Transport", Seen)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="can't start"):
            client.stream(frames(tiny, 1), service_url, covers=pool)
    assert [connection.is_closed for connection in opened] == [True]


async def camera_async(secrets):
    for secret in secrets:
        await asyncio.sleep(0)
        yield secret


@pytest.mark.parametrize("source", [list, camera_async])
def test_async(client, service_url, pool, tiny, source):
    secrets = frames(tiny, 6)

    async def run():
        return [frame async for frame in client.stream_async(source(secrets), service_url, covers=pool, window=3)]

    outcomes = asyncio.run(run())
    assert [frame.index for frame in outcomes] == list(range(6))
    assert all(is_mask_of(frame, secret) for frame, secret in zip(outcomes, secrets, strict=True))


def test_async_cancelled_while_the_server_is_slow(client, server, pool, tiny):
    """The event loop goes on, no further frame is sent, and no thread is left."""
    before = threading.active_count()
    ticks = []

    async def slow(number):
        await asyncio.sleep(0.3)

    async def tick():
        while True:
            ticks.append(None)
            await asyncio.sleep(0.01)

    async def take(url):
        async for _ in client.stream_async(camera_async(frames(tiny, 9)), url, covers=pool, window=2):
            pytest.fail("an answer came")

    async def run(url):
        ticking = asyncio.create_task(tick())
        taking = asyncio.create_task(take(url))
        while not analysis.bodies:
            await asyncio.sleep(0.01)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        ticking.cancel()

    analysis = Analysis(server, slow)
    with tiny.running(analysis.app) as url:
        asyncio.run(run(url))
        assert len(analysis.bodies) <= 2
        assert len(ticks) > 3
    assert threading.active_count() == before


def test_async_cancelled_while_it_opens(client, service_url, pool, tiny, monkeypatch):
    """The pool is still counted when the task is cancelled: the stream that opens then is closed again."""
    counting, counted = threading.Event(), threading.Event()
    require = pool.require

    def slow(*arguments):
        counting.set()
        assert counted.wait(10)
        require(*arguments)

    monkeypatch.setattr(pool, "require", slow)

    async def take():
        async for _ in client.stream_async(itertools.cycle(frames(tiny, 3)), service_url, covers=pool, count=9):
            pytest.fail("a frame came")

    async def run():
        taking = asyncio.create_task(take())
        while not counting.is_set():
            await asyncio.sleep(0.01)
        taking.cancel()
        await asyncio.sleep(0.05)
        counted.set()
        with pytest.raises(asyncio.CancelledError):
            await taking

    asyncio.run(run())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("hide", "send"))]


def test_async_that_cannot_open(client, pool, tiny):
    async def run():
        async for _ in client.stream_async(frames(tiny, 1), "http://10.0.0.1:1", covers=pool):
            pytest.fail("a frame came")

    with pytest.raises(TransportError, match="expected https"):
        asyncio.run(run())


def test_async_left_early_with_a_silent_camera(client, service_url, pool, tiny):
    async def one_then_nothing():
        yield tiny.secret()
        await asyncio.sleep(3600)

    async def run():
        outcomes = client.stream_async(one_then_nothing(), service_url, covers=pool)
        first = await anext(outcomes)
        await outcomes.aclose()
        return first

    assert is_mask_of(asyncio.run(run()), tiny.secret())


def test_hide_and_recover_async(client, server, tiny, rng):
    async def run():
        stego = await client.hide_async(tiny.secret(), tiny.photo(rng))
        return await client.recover_async(server.analyze(stego), sent=stego, size=(32, 48))

    assert asyncio.run(run()).mask.shape == (32, 48)
