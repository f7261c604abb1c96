from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from hidemia.runtime import EngineError
from hidemia.runtime.batching import Batcher, Busy


def photo(value: int) -> np.ndarray:
    return np.full((4, 4, 3), value, np.uint8)


class Analyzer:
    """Adds one; waits for `gate` in each call; remembers the calls' sizes and threads."""

    def __init__(self):
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.gate.set()

    def __call__(self, photos: np.ndarray) -> np.ndarray:
        self.sizes.append(len(photos))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(60)
        return photos + 1

    def hold(self):
        """Make the next call wait, and forget that one was entered."""
        self.gate.clear()
        self.entered.clear()


@pytest.fixture
def analyzer() -> Analyzer:
    return Analyzer()


@pytest.fixture
def make(analyzer):
    batchers = []

    def make(**settings) -> Batcher:
        batchers.append(Batcher(analyzer, **{"batch_wait_timeout_ms": 1, **settings}))
        return batchers[-1]

    yield make
    analyzer.gate.set()
    for batcher in batchers:
        batcher.close()


def test_each_gets_its_own_reply(make, analyzer):
    batcher = make(max_batch_size=8)
    futures = {value: batcher.submit(photo(value)) for value in range(50)}
    for value, future in futures.items():
        assert np.array_equal(future.result(60), photo(value + 1))
    assert sum(analyzer.sizes) == 50
    assert max(analyzer.sizes) <= 8
    assert analyzer.threads == {"analyze"}


def test_one_call_takes_what_waits(make, analyzer):
    batcher = make(max_batch_size=4)
    analyzer.hold()
    first = batcher.submit(photo(0))
    assert analyzer.entered.wait(60)
    rest = [batcher.submit(photo(value)) for value in range(1, 7)]
    assert batcher.waiting == 6
    analyzer.gate.set()
    for future in [first, *rest]:
        future.result(60)
    assert analyzer.sizes == [1, 4, 2]


def test_a_batch_waits_for_company_only_so_long(make, analyzer):
    batcher = make(max_batch_size=2, batch_wait_timeout_ms=10_000)
    start = time.monotonic()
    futures = [batcher.submit(photo(1)), batcher.submit(photo(2))]
    for future in futures:
        future.result(60)
    assert time.monotonic() - start < 9
    assert analyzer.sizes == [2]


def test_a_full_queue_refuses(make, analyzer):
    batcher = make(queue_size=2, max_batch_size=1)
    analyzer.hold()
    accepted = [batcher.submit(photo(0))]
    assert analyzer.entered.wait(60)
    accepted += [batcher.submit(photo(1)), batcher.submit(photo(2))]
    with pytest.raises(Busy, match="the queue of 2 is full"):
        batcher.submit(photo(3))
    analyzer.gate.set()
    assert [int(future.result(60)[0, 0, 0]) for future in accepted] == [1, 2, 3]


def test_who_went_away_joins_no_batch(make, analyzer):
    batcher = make(max_batch_size=8)
    analyzer.hold()
    first = batcher.submit(photo(0))
    assert analyzer.entered.wait(60)
    gone, stays = batcher.submit(photo(1)), batcher.submit(photo(2))
    assert gone.cancel()
    analyzer.gate.set()
    assert int(stays.result(60)[0, 0, 0]) == 3
    first.result(60)
    assert analyzer.sizes == [1, 1]


def test_who_waited_too_long_is_refused(make, analyzer):
    batcher = make(deadline_s=0.05)
    analyzer.hold()
    first = batcher.submit(photo(0))
    assert analyzer.entered.wait(60)
    late = batcher.submit(photo(1))
    time.sleep(0.1)
    analyzer.gate.set()
    with pytest.raises(Busy, match=r"waited longer than 0\.05 s"):
        late.result(60)
    first.result(60)
    assert analyzer.sizes == [1]


def test_closing_finishes_what_was_accepted(make, analyzer):
    batcher = make(max_batch_size=2)
    analyzer.hold()
    futures = [batcher.submit(photo(value)) for value in range(5)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.is_open:
        time.sleep(0.001)
    with pytest.raises(Busy, match="shuts down"):
        batcher.submit(photo(9))
    analyzer.gate.set()
    closing.join(60)
    assert [int(future.result(0)[0, 0, 0]) for future in futures] == [1, 2, 3, 4, 5]
    batcher.close()


def test_a_failing_engine_fails_its_batch_alone():
    def analyze(photos):
        if (photos == 7).any():
            raise EngineError("broken")
        return photos

    batcher = Batcher(analyze, max_batch_size=1)
    with pytest.raises(EngineError):
        batcher.submit(photo(7)).result(60)
    assert batcher.is_open
    assert int(batcher.submit(photo(1)).result(60)[0, 0, 0]) == 1
    batcher.close()


def test_a_bug_is_an_engine_error_and_the_worker_goes_on(caplog):
    def analyze(photos):
        return photos[1:] if photos[0, 0, 0, 0] == 7 else photos + None

    batcher = Batcher(analyze, max_batch_size=1)
    with pytest.raises(EngineError, match="expected 1 replies, got 0"):
        batcher.submit(photo(7)).result(60)
    with pytest.raises(EngineError, match="analyze: TypeError: "):
        batcher.submit(photo(1)).result(60)
    assert "the engine failed" in caplog.text
    assert batcher.is_open
    batcher.close()


def test_observations(analyzer):
    seen = []
    batcher = Batcher(analyzer, observe=lambda *numbers: seen.append(numbers))
    batcher.submit(photo(1)).result(60)
    batcher.close()
    ((count, wait_s, took_s),) = seen
    assert count == 1
    assert wait_s >= 0
    assert took_s >= 0


def test_many_threads_submit_and_cancel(make):
    """Whatever the order of events, each future ends as a reply, cancelled or Busy."""
    batcher = make(queue_size=16, max_batch_size=4)
    ends = {"reply": 0, "cancelled": 0, "busy": 0}
    lock = threading.Lock()

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for value in rng.integers(0, 200, 60):
            try:
                future = batcher.submit(photo(int(value)))
            except Busy:
                end = "busy"
            else:
                if rng.random() < 0.3 and future.cancel():
                    end = "cancelled"
                else:
                    assert int(future.result(60)[0, 0, 0]) == value + 1
                    end = "reply"
            with lock:
                ends[end] += 1

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(ends.values()) == 8 * 60
    assert ends["reply"] > 0
