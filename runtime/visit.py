"""One request as the log and the audit log tell it: an id of ours, what came, what went, and how long it took."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

__all__ = ["Visit"]


@dataclass(slots=True)
class Visit:
    """A request on its way through the service.

    Attributes:
        request: Its id, made here: a caller's own could be a name.
        sent: The photo's bytes, once received.
        answer: The reply's, once encoded.
        stages_ms: How long each stage took that was finished.
    """

    request: str = field(default_factory=lambda: secrets.token_hex(8))
    sent: bytes | None = None
    answer: bytes | None = None
    stages_ms: dict[str, float] = field(default_factory=dict)
    _start: float = field(default_factory=perf_counter)

    @property
    def total_ms(self) -> float:
        """Time since it came."""
        return round((perf_counter() - self._start) * 1e3, 3)

    def lap(self, stage: str) -> None:
        """End a stage; the next begins."""
        self.stages_ms[stage] = round(self.total_ms - sum(self.stages_ms.values()), 3)

    def entry(self, status: int) -> dict[str, Any]:
        """Its line in the audit log, but for time and manifest."""
        return {
            "event": "photo",
            "request": self.request,
            "status": status,
            "input_sha256": _sha256(self.sent),
            "output_sha256": _sha256(self.answer),
            "stages_ms": self.stages_ms,
            "total_ms": self.total_ms,
        }


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
