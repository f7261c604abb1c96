"""Parts done one after the other, as long as there is time; what was done before is taken as it lies there."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from hidemia.benchmarks.latency.parts import Parts

LATER = "the time that was given was over; go on with --resume"

Tell = Callable[[str], None]


class _TimeIsOverError(Exception):
    """A part is not there, and no time is left to make it."""


class Work:
    """What is done, and what was left out.

    Args:
        parts: Keeps what is done.
        tell: Told what is done next.
        minutes: After which nothing more is begun; None for no limit.

    Attributes:
        left_out: Names of parts that there was no time for.
    """

    def __init__(self, parts: Parts, tell: Tell, minutes: float | None) -> None:
        self.parts, self.tell = parts, tell
        self.end = None if minutes is None else monotonic() + 60 * minutes
        self.left_out: list[str] = []

    def do(self, name: str, kind: Any, make: Callable[[], Any]) -> Any:
        """A part that lies there or is made now; None where there was no time for it."""

        def in_time() -> Any:
            if self.end is not None and monotonic() > self.end:
                raise _TimeIsOverError
            self.tell(name)
            return make()

        try:
            return self.parts.get(name.replace(" ", "-").replace("|", ""), kind, in_time)
        except _TimeIsOverError:
            self.left_out.append(name)
            return None

    @property
    def absent(self) -> dict[str, str]:
        """What was left out, with its reason."""
        return dict.fromkeys(self.left_out, LATER)
