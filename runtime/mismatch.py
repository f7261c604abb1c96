"""One thing about a machine that does not fit a bundle, in plain words."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["NEWER_DRIVER", "Grade", "Mismatch", "fail", "numbers"]

Grade: TypeAlias = Literal["FAIL", "warn"]

NEWER_DRIVER = "install NVIDIA's current driver, then run nvidia-smi"


class Mismatch(Struct, frozen=True, kw_only=True):
    """One thing that does not fit.

    Attributes:
        grade: `FAIL` when it will not run, `warn` when it may run worse than it could.
        kind: What does not fit, in one word for machines: `engine`, `provider`, `gpu`, `compute_capability`,
            `tensorrt`, `cuda`, `driver`, `l4t`, `architecture`, `opset`, `graph`, `plan`, `file`, `manifest`,
            `permissions`.
        text: One line: what, expected, got, the command that mends it.
    """

    grade: Grade
    kind: str
    text: str


def numbers(version: str | None) -> list[int]:
    """The leading numbers of a version, 10.13.3.9.post1 -> [10, 13, 3, 9]."""
    found = []
    for part in (version or "").split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return found


def fail(kind: str, text: str) -> Mismatch:
    """A mismatch with which the bundle will not run."""
    return Mismatch(grade="FAIL", kind=kind, text=text)
