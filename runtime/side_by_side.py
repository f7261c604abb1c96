"""A batch on a CPU: its photos side by side, each on a thread of its own.

Threads that share one photo wait for each other at every layer; threads with a photo each do not. It serves graphs
that take single photos alone, such as the form `one` of difference convolutions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hidemia.runtime.engine import Arrays, Engine
from hidemia.runtime.errors import EngineError

__all__ = ["SideBySide"]


class SideBySide(Engine):
    """An engine for batches, of an engine for single images that is safe across threads.

    Args:
        engine: Takes one image a run, on one thread.
        threads: Images at a time.
    """

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="photo")
        self._closed = False

    def run(self, inputs: Arrays) -> Arrays:
        """Run every image of the batch; see `Engine.run`."""
        if self._closed:
            raise EngineError("engine: expected an open engine, got a closed one; load it again")
        count = len(next(iter(inputs.values())))
        images = [{name: value[i : i + 1] for name, value in inputs.items()} for i in range(count)]
        outputs = list(self._pool.map(self._engine.run, images))
        return {name: np.concatenate([output[name] for output in outputs]) for name in outputs[0]}

    def close(self) -> None:
        """End the threads and give the engine's memory back."""
        self._closed = True
        self._pool.shutdown()
        self._engine.close()
