"""What a report measures: a plan, and the groups of rivals that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hidemia.export.probes import Probes

VERBS = ("hide", "analyze", "recover")
FEWEST = 10  # rounds of any group of the whole report


@dataclass(frozen=True)
class Plan:
    """What is measured, and how much of it.

    Attributes:
        rounds: Of a group at batch 1; larger batches get fewer, never less than `FEWEST`.
        warm_up: Rounds before, which do not count.
        trips: Whose stages are timed.
        probes: As many images as the largest batch.
    """

    client: Path
    server: Path
    weights: Path
    probes: Probes
    real: bool
    threads: int
    quick: bool
    rounds: int
    warm_up: int
    trips: int


@dataclass(frozen=True)
class Group:
    """Rivals that are measured side by side."""

    verb: str
    batch: int
    threads: int
    rounds: int

    @property
    def name(self) -> str:
        """Of its part."""
        return f"{self.verb}.batch{self.batch}.threads{self.threads}"


def groups(plan: Plan) -> list[Group]:
    """Every verb at batch 1 and 8, the analyzer also between; one thread and all. Quick: all threads, few batches."""
    if plan.quick:
        single = [Group(verb, 1, plan.threads, plan.rounds) for verb in VERBS]
        return [*single, Group("analyze", 8, plan.threads, plan.rounds)]
    found = []
    for threads in sorted({1, plan.threads}):
        for verb in VERBS:
            batches = (1, 2, 4, 8) if verb == "analyze" and threads == plan.threads else (1, 8)
            found += [Group(verb, batch, threads, max(FEWEST, plan.rounds // batch)) for batch in batches]
    return found
