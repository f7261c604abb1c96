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
    """Rivals that are measured side by side.

    Attributes:
        paper: Whether they are the networks of the papers instead, as far as they do this verb.
    """

    verb: str
    batch: int
    threads: int
    rounds: int
    paper: bool = False

    @property
    def name(self) -> str:
        """Of its part."""
        return f"{self.verb}.{'paper' if self.paper else f'batch{self.batch}'}.threads{self.threads}"


def groups(plan: Plan) -> list[Group]:
    """What is measured.

    Quick: every verb on all threads, and the analyzer at batch 8. Whole: every verb also on one thread; batches of
    photos where they are met, which is all threads, and the analyzer; the networks of the papers once.
    """
    if plan.quick:
        single = [Group(verb, 1, plan.threads, plan.rounds) for verb in VERBS]
        return [*single, Group("analyze", 8, plan.threads, plan.rounds)]
    found = []
    for threads in sorted({1, plan.threads}):
        for verb in VERBS:
            if threads == plan.threads:
                batches = [1, 2, 4, 8] if verb == "analyze" else [1, 8]
            else:
                batches = [1, 8] if verb == "analyze" else [1]
            found += [Group(verb, batch, threads, max(FEWEST, plan.rounds // batch)) for batch in batches]
    return [*found, *(Group(verb, 1, plan.threads, FEWEST, paper=True) for verb in VERBS)]
