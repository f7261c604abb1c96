"""Rivals in turn: each in a process of its own, each once a round, after a warm-up; every time is kept."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.latency.rival import Rival
from hidemia.benchmarks.latency.worker import Ran, Ready
from hidemia.benchmarks.report.measurements import Agreement, Timing
from hidemia.benchmarks.timing import SETTLE_S

PATIENCE_S = 600.0
"""For one answer: compiling takes minutes on a small machine."""

END_S = 10.0

A = TypeVar("A", Ready, Ran)


class FailedError(Exception):
    """A rival that gives no answer; its text becomes the reason of its row."""


class Process:
    """One rival's process, started and ready.

    Raises:
        FailedError: It ended, or said nothing in time.
    """

    def __init__(self, rival: Rival, patience_s: float = PATIENCE_S) -> None:
        self.rival, self.patience_s = rival, patience_s
        threads = {name: str(rival.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
        self._process = subprocess.Popen(  # a module of ours
            [sys.executable, "-m", "hidemia.benchmarks.latency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **threads},
        )
        try:
            self.ready = self._ask(msgspec.json.encode(rival), Ready)
            self.output = self._output()
        except BaseException:
            self.close()
            raise

    def run(self) -> Ran:
        """Make one run.

        Raises:
            FailedError: It ended, or said nothing in time.
        """
        return self._ask(b"run", Ran)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _ask(self, line: bytes, kind: type[A]) -> A:
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018  both are pipes
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(self.patience_s):
                raise FailedError(f"no answer in {self.patience_s:.0f} s")
        answer = self._process.stdout.readline()
        if not answer:
            raise FailedError(self._last_line())
        return msgspec.json.decode(answer, type=kind)

    def _last_line(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)  # its answers end before it has written why
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"ended with exit code {self._process.poll()} and no word"

    def _output(self) -> NDArray[Any] | None:
        """What it computed first, where it computes on images."""
        if not self.rival.inputs:
            return None
        file = Path(self.rival.inputs) / f"output.{self._process.pid}.npy"
        output: NDArray[Any] = np.load(file)
        file.unlink()
        return output


def measured(
    rivals: Iterable[Rival],
    rounds: int,
    *,
    inputs: Path,
    expected: Mapping[str, NDArray[Any]],
    threshold: float = 0.5,
    warm_up: int,
    patience_s: float = PATIENCE_S,
) -> list[Timing]:
    """Measure rivals side by side.

    Args:
        rivals: All are held in memory at once.
        rounds: In each, every rival runs once.
        inputs: A folder with the inputs of the verbs.
        expected: Verb -> what it must give, for the largest batch; the rows say how far each rival is from it.
        threshold: Probability from which a pixel belongs to the mask.
        warm_up: Rounds before, which do not count. The first run of each is measured apart.
        patience_s: For one answer of a rival.

    Returns:
        A row for each rival in their order; one that failed has a reason and no times.
    """
    with contextlib.ExitStack() as stack:
        rows = [_started(rival, inputs, patience_s, stack) for rival in rivals]
        for number in range(warm_up + rounds):
            for row in rows:
                row.turn(counts=number >= warm_up)
        return [row.timing(expected, threshold) for row in rows]


class _Row:
    """A rival's row while it is being measured."""

    def __init__(self, rival: Rival, process: Process | None, reason: str) -> None:
        self.rival, self.process, self.reason = rival, process, reason
        self.times_ms: list[float] = []
        self.peak_mib: float | None = None

    def turn(self, *, counts: bool) -> None:
        """One run, after a pause in which the threads of the one before come to rest."""
        if self.process is None or self.reason:
            return
        time.sleep(SETTLE_S)
        try:
            ran = self.process.run()
        except FailedError as failure:
            self.reason, self.times_ms = str(failure), []
            return
        self.peak_mib = ran.peak_mib
        if counts:
            self.times_ms.append(round(ran.took_ms, 3))

    def timing(self, expected: Mapping[str, NDArray[Any]], threshold: float) -> Timing:
        """The row of the report."""
        rival = self.rival
        row = Timing(
            verb=rival.verb,
            rival=rival.name,
            backend=rival.backend,
            precision=rival.precision,
            graph=rival.graph,
            batch=rival.batch,
            threads=rival.threads,
            reason=self.reason,
            paper=rival.paper,
        )
        if self.process is None or self.reason:
            return row
        ready, output = self.process.ready, self.process.output
        held = output is not None and rival.trained
        return msgspec.structs.replace(
            row,
            times_ms=self.times_ms,
            load_ms=round(ready.load_ms, 2),
            first_ms=round(ready.first_ms, 2),
            resident_mib=_rounded(ready.resident_mib),
            peak_mib=_rounded(self.peak_mib),
            agreement=agreement(output, expected[rival.verb][: rival.batch], threshold) if held else None,
        )


def agreement(got: NDArray[Any], expected: NDArray[Any], threshold: float) -> Agreement:
    """How far an output is from what was expected; of photos, in the colour that is furthest.

    Args:
        got: uint8 photos (B, H, W, 3), or probabilities, float32 (B, H, W) or (B, K).
        expected: The same form.
        threshold: Probability from which a pixel belongs to the mask, where they are probabilities.
    """
    apart = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype == np.uint8:
        same = float((got == expected).reshape(-1, expected.shape[-1]).mean(axis=0).min())
    else:
        same = float(((got >= threshold) == (expected >= threshold)).mean())
    return Agreement(identical_share=round(same, 6), largest=round(float(apart.max()), 6))


def _started(rival: Rival, inputs: Path, patience_s: float, stack: contextlib.ExitStack) -> _Row:
    if rival.reason:
        return _Row(rival, None, rival.reason)
    reads = rival.kind not in ("product", "copy")
    try:
        process = Process(msgspec.structs.replace(rival, inputs=str(inputs) if reads else ""), patience_s)
    except FailedError as failure:
        return _Row(rival, None, str(failure))
    stack.callback(process.close)
    return _Row(rival, process, "")


def _rounded(mib: float | None) -> float | None:
    return None if mib is None else round(mib, 1)
