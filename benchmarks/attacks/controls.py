"""Whether the detectors are to be believed: they must find what is known to be there, and nothing in bare covers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean

from hidemia.benchmarks.attacks.detection import COVERS_APART, WEAK
from hidemia.benchmarks.report.document import Control, Detection

CLEARLY = 0.2
"""Error below which LSB matching at 0.4 counts as clearly detected."""


def controls(rows: Sequence[Detection], photos: int) -> list[Control]:
    """One verdict for each thing that must come out.

    Args:
        rows: Of all detectors.
        photos: Covers of the test split.
    """
    found = [_near_half(row, photos) for row in rows if row.target == COVERS_APART]
    found += [_found(row) for row in rows if row.trained_on == row.target == "LSB matching 0.4"]
    rates = [row for row in rows if row.detector == "classical" and row.target in (*WEAK, "LSB matching 0.4")]
    if rates:
        errors = [mean(row.error) for row in rates]
        held = all(a >= b for a, b in pairwise(errors))
        got = ", ".join(f"{error:.1%}" for error in errors)
        found.append(Control(name="classical, LSB matching 0.1, 0.2, 0.4", expected="errors fall", got=got, held=held))
    return found


def interval(photos: int) -> float:
    """Half of the 95 % interval of an error of one half, over independent photos (normal approximation)."""
    return float(1.96 * (0.25 / photos) ** 0.5)


def _near_half(row: Detection, photos: int) -> Control:
    error, width = mean(row.error), interval(photos)
    return Control(
        name=f"{row.detector}, {row.target}",
        expected=f"error {0.5 - width:.1%} to {0.5 + width:.1%}",
        got=f"{error:.1%}",
        held=abs(error - 0.5) <= width,
    )


def _found(row: Detection) -> Control:
    error = mean(row.error)
    return Control(
        name=f"{row.detector}, {row.target}",
        expected=f"error below {CLEARLY:.0%}",
        got=f"{error:.1%}",
        held=error < CLEARLY,
    )
