"""How far a build is: drawn on a terminal, with what is left; and the way to interrupt it."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["Progress", "monitor"]


class Progress:
    """One line on a terminal's error stream, drawn over and over; nothing where that is no terminal.

    Args:
        title: What is being made.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._start = time.monotonic()

    def draw(self, share: float) -> None:
        """Show the share that is done, in (0, 1]."""
        if sys.stderr.isatty():
            passed_s = time.monotonic() - self._start
            left_s = passed_s / share - passed_s
            sys.stderr.write(f"\r\x1b[K{self._title}: {share:.0%}, {passed_s:.0f} s, about {left_s:.0f} s left")
            sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def monitor(trt: Any, progress: Progress) -> Any:
    """TensorRT's own progress monitor, or None before version 10, which has none.

    An interrupt makes TensorRT stop at its next step; `interrupted` then says so, for an exception must not pass
    through TensorRT.

    Args:
        trt: The module `tensorrt`.
        progress: What it draws on.
    """
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """TensorRT calls its three methods; phases lie in each other, and the outermost tells how far it is."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # the binding requires this very call
            self.interrupted = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._steps[phase_name] = max(1, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                if phase_name in self._steps:
                    progress.draw(min(1.0, (step + 1) / self._steps[phase_name]))
            except KeyboardInterrupt:
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            if self._steps.pop(phase_name, None):
                progress.clear()

    return Monitor()
