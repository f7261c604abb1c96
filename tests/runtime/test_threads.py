"""Client and Server from many threads at once: the results of one thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hidemia.runtime import Client, Server
from hidemia.runtime.engine import EngineSettings

THREADS = 8
ROUNDS = 40


@pytest.fixture(params=[1, 2], ids=["one engine thread", "two engine threads"])
def loaded(request, model):
    settings = EngineSettings(threads=request.param)
    with Client.load(model.client, engine=settings) as client, Server.load(model.server, engine=settings) as server:
        yield client, server


def test_threads_do_not_mix_images(loaded, tiny):
    client, server = loaded

    def trip(number: int) -> tuple[bytes, bytes, bytes, bytes]:
        rng = np.random.default_rng(number)
        secret = rng.integers(0, 256, (64 + number % 7, 64 + number % 5, 3), np.uint8)
        sent = client.hide(secret, tiny.photo(rng))
        reply = server.analyze(sent)
        batch = server.analyze(np.stack([sent, sent[::-1]]))
        assert np.array_equal(batch[0], reply)
        result = client.recover(reply, sent=sent, size=secret.shape[:2])
        return sent.tobytes(), reply.tobytes(), result.mask.tobytes(), result.probability.tobytes()

    serial = [trip(number) for number in range(ROUNDS)]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(trip, range(ROUNDS))) == serial
