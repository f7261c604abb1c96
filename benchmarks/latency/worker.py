"""One rival in a process of its own, which the measuring process drives line by line.

It is told which rival it is (`hidemia.benchmarks.latency.rival.Rival`, one JSON line), answers when it is ready with
how long that took and what memory it holds, and then makes one run for each line that comes, answering with the
milliseconds that the run took. So memory and load times are of one engine alone, and the runs of all rivals can still
take turns.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.latency.rival import Rival
from hidemia.benchmarks.timing import matrix_product

Output = NDArray[Any]
Run = Callable[[], Output]

COPY_BYTES = 256 << 20  # far more than any cache


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The first answer."""

    load_ms: float
    first_ms: float
    resident_mib: float | None


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to every line after."""

    took_ms: float
    peak_mib: float | None


def main() -> int:
    """Serve one rival until the lines end. Whatever libraries print goes to the error stream."""
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        rival = msgspec.json.decode(sys.stdin.buffer.readline(), type=Rival)
        pin(rival.threads)
        prepare = PREPARE[rival.kind](rival)
        start = perf_counter()
        run = prepare()
        load_ms = (perf_counter() - start) * 1e3
        resident_mib = memory_mib("VmRSS")
        start = perf_counter()
        output = run()
        first_ms = (perf_counter() - start) * 1e3
        if rival.inputs:
            np.save(Path(rival.inputs) / f"output.{os.getpid()}.npy", output)
        _answer(answers, Ready(load_ms=load_ms, first_ms=first_ms, resident_mib=resident_mib))
        for _ in sys.stdin.buffer:
            start = perf_counter()
            run()
            took_ms = (perf_counter() - start) * 1e3
            _answer(answers, Ran(took_ms=took_ms, peak_mib=memory_mib("VmHWM")))
    return 0


def pin(threads: int) -> None:
    """Keep this process on as many cores as it has threads, the last ones, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def memory_mib(name: str, status: Path = Path("/proc/self/status")) -> float | None:
    """A line of Linux's account of a process, in MiB: VmRSS is what it holds, VmHWM the most it held."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)


# Each imports its engine when it is asked to prepare, so that loading is timed without the import.


def _bundle(rival: Rival) -> Callable[[], Run]:
    from hidemia.runtime.bundle import Bundle  # noqa: PLC0415
    from hidemia.runtime.engine import EngineSettings, open_engine  # noqa: PLC0415

    bundle = Bundle.open(rival.source)
    graph = next(graph for graph in bundle.manifest.graphs if graph.path == rival.graph)
    settings = EngineSettings(backend=rival.backend, threads=rival.threads)  # type: ignore[arg-type]
    __import__(rival.backend)
    feed, output = _feed(rival), graph.outputs[0].name

    def prepare() -> Run:
        engine = open_engine(bundle, graph, settings)
        return lambda: engine.run(feed)[output]

    return prepare


def _file(rival: Rival) -> Callable[[], Run]:
    from hidemia.benchmarks.contenders import ENGINES  # noqa: PLC0415

    __import__(rival.backend)
    feed = _feed(rival)

    def prepare() -> Run:
        run: Callable[[], Any] = ENGINES[rival.backend](Path(rival.source).read_bytes(), feed, rival.threads)
        return lambda: np.asarray(next(iter(_values(run()))))

    return prepare


def _values(outputs: Any) -> list[Any]:
    return list(outputs.values()) if hasattr(outputs, "values") else list(outputs)


def _torch(rival: Rival) -> Callable[[], Run]:
    import torch  # noqa: PLC0415

    from hidemia.export.trained import Trained  # noqa: PLC0415
    from hidemia.training.weights import load_weights  # noqa: PLC0415

    torch.set_grad_enabled(False)
    torch.set_num_threads(rival.threads)
    photos = [torch.from_numpy(photo) for photo in _feed(rival).values()]

    def prepare() -> Run:
        system, _ = load_weights(Path(rival.source))
        module: Any = Trained(system.eval(), rival.verb)  # type: ignore[arg-type]
        if rival.way == "channels-last":
            module = module.to(memory_format=torch.channels_last)
        if rival.way == "compiled":
            module = torch.compile(module)
        return lambda: np.asarray(module(*photos)[0].numpy())

    return prepare


def _product(_: Rival) -> Callable[[], Run]:
    return matrix_product  # type: ignore[return-value]


def _copy(rival: Rival) -> Callable[[], Run]:
    def prepare() -> Run:
        source, target = np.ones(COPY_BYTES, np.uint8), np.zeros(COPY_BYTES, np.uint8)
        pairs = list(zip(np.array_split(target, rival.threads), np.array_split(source, rival.threads), strict=True))
        pool = ThreadPoolExecutor(rival.threads)  # numpy lets the others go on while it copies

        def run() -> Output:
            for copied in [pool.submit(np.copyto, *pair) for pair in pairs]:
                copied.result()
            return target

        return run

    return prepare


def _feed(rival: Rival) -> dict[str, NDArray[np.uint8]]:
    """The verb's inputs, in the order that its graph takes them, cut to the batch."""
    names = INPUTS[rival.verb]
    return {name: np.load(Path(rival.inputs) / f"{name}.npy")[: rival.batch] for name in names}


INPUTS = {"hide": ("secret", "cover"), "analyze": ("stego",), "recover": ("reply", "sent")}

PREPARE = {"bundle": _bundle, "file": _file, "torch": _torch, "product": _product, "copy": _copy}


def _answer(answers: IO[bytes], answer: msgspec.Struct) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
