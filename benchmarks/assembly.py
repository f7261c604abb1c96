"""A report from its parts: counts, the speed table, every rival in turn, the trip, power, and what is visible."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

from hidemia.benchmarks.cost import graph, networks
from hidemia.benchmarks.environment import environment
from hidemia.benchmarks.groups import Plan, groups
from hidemia.benchmarks.latency import parts, power, stages
from hidemia.benchmarks.measuring import Measuring, limits
from hidemia.benchmarks.report.document import Environment, Method, Report
from hidemia.benchmarks.report.findings import Attacks
from hidemia.benchmarks.report.measurements import (
    GraphFile,
    Model,
    NetworkCost,
    Picture,
    Power,
    Stage,
    Target,
    Timing,
    Visibility,
)
from hidemia.benchmarks.visibility import visibility
from hidemia.export.freshness import code_sha256
from hidemia.runtime.bundle import Bundle
from hidemia.training.weights import load_weights

LAYERS = ("runtime", "training", "export", "benchmarks")
WEIGHTS = ("config.json", "hider.safetensors", "analyzer.safetensors")
LARGE = 20_000_000
"""Parameters above which --quick does not count a network: exporting them takes longer than measuring."""

NO_ATTACKS = {
    "attacks": "`hidemia attacks` measures it, and --attacks names what it found; docs/attacks.md has the figures of "
    "busi. Expect detection",
}


class SpeedTable(Struct, frozen=True, kw_only=True):
    """Rows of the speed table and what they were made of."""

    targets: list[Target]
    times_ms: dict[str, dict[str, float]]
    rounds: int


class Seen(Struct, frozen=True, kw_only=True):
    """What is visible."""

    visibility: list[Visibility]
    pictures: list[Picture]


@torch.no_grad()
def assemble(
    plan: Plan,
    folder: Path,
    speed_table: Callable[[], SpeedTable],
    attacks: Attacks | None,
    *,
    resume: bool,
    tell: Callable[[int, int, str], None],
) -> Report:
    """Measure what is not there yet, and put the report together.

    Args:
        plan: What is measured.
        folder: Where the parts lie.
        speed_table: Measures the rows of the speed table.
        attacks: What attackers found; None where nobody looked.
        resume: Take parts that lie there for the same machine, bundles, weights and code.
        tell: Told how many parts are done, of how many, and what is measured next.
    """
    system, config = load_weights(plan.weights)
    bundles = {"client": Bundle.open(plan.client, "client"), "server": Bundle.open(plan.server, "server")}
    machine, code = environment(plan.threads), code_sha256(LAYERS)
    kept = parts.Parts(folder, _key(plan, machine, bundles, code), reuse=resume)
    todo = groups(plan)
    names = [
        "environment",
        "networks",
        "files",
        "speed",
        "stages",
        "power",
        "visibility",
        *(group.name for group in todo),
    ]

    def part(name: str, kind: Any, make: Callable[[], Any]) -> Any:
        tell(names.index(name), len(names), name)
        return kept.get(name, kind, make)

    found = part("environment", Environment, lambda: machine)
    costs = part("networks", list[NetworkCost], lambda: _networks(plan, config.image_size_px))
    files = part("files", list[GraphFile], lambda: [cost for bundle in bundles.values() for cost in _files(bundle)])
    speed = part("speed", SpeedTable, speed_table)
    split = part("stages", list[Stage], lambda: _stages(plan))
    drawn = part("power", Power, lambda: _power(plan))
    seen = part("visibility", Seen, lambda: _seen(plan))
    timings: list[Timing] = []
    with tempfile.TemporaryDirectory() as inputs:
        measure = Measuring(plan, system, config.mask_threshold, bundles, Path(inputs))
        for group in todo:
            timings += part(group.name, list[Timing], lambda group=group: measure(group))
    return Report(
        model=bundles["client"].manifest.name,
        image_size_px=config.image_size_px,
        targets=speed.targets,
        times_ms=speed.times_ms,
        environment=found,
        method=Method(
            quick=plan.quick,
            rounds=speed.rounds,
            warm_up=plan.warm_up,
            images="real" if plan.real else "simulated",
            image_size_px=config.image_size_px,
            date=kept.date,
            seconds=round(kept.seconds, 1),
            code_sha256=code,
            counting=graph.RULE,
        ),
        limits=limits(timings),
        networks=costs,
        graphs=files,
        timings=[timing for timing in timings if timing.verb != "limit"],
        stages=split,
        power=drawn,
        models=_models(plan.weights, files),
        visibility=seen.visibility,
        pictures=seen.pictures,
        attacks=attacks,
        absent={} if attacks else NO_ATTACKS,
    )


def _networks(plan: Plan, side: int) -> list[NetworkCost]:
    found = []
    for network in networks.networks(side):
        if plan.quick and network.parameters > LARGE:
            reason = f"left out by --quick: {network.parameters:,} parameters"
            found += [NetworkCost(network=network.name, part=part, reason=reason) for part in network.parts]
            continue
        found += [NetworkCost(**vars(count)) for count in networks.counts(network)]
    return found


def _files(bundle: Bundle) -> list[GraphFile]:
    return [
        GraphFile(
            role=bundle.manifest.role,
            verb=entry.verb,
            path=entry.path,
            precision=entry.precision,
            sha256=entry.sha256,
            size_bytes=entry.size_bytes,
            **vars(graph.count(bundle.read(entry))),
        )
        for entry in bundle.manifest.graphs
    ]


def _stages(plan: Plan) -> list[Stage]:
    with stages.Trips(plan.client, plan.server, stages.WARM_UP + plan.trips) as trips:
        return stages.stages(trips, plan.trips)


def _power(plan: Plan) -> Power:
    meter = power.find()
    if meter is None:
        return power.measure(None, lambda: None, 0)
    with stages.Trips(plan.client, plan.server, plan.trips) as trips:
        return power.measure(meter, trips.one, plan.trips)


def _seen(plan: Plan) -> Seen:
    found, pictures = visibility(plan.client, plan.server, len(plan.probes))
    return Seen(visibility=found, pictures=pictures)


def _models(weights: Path, files: list[GraphFile]) -> list[Model]:
    """The model, where figures of a test split lie beside its weights."""
    try:
        figures = json.loads((weights / "figures.json").read_text())
    except OSError:
        return []
    firsts = {file.verb: file.multiply_adds for file in reversed(files)}  # those that are taken when nothing is asked
    means = {name: value for name, value in figures.items() if not isinstance(value, list)}  # not every image's score
    return [Model(name=weights.name, figures=means, multiply_adds=sum(firsts.values()))]


def _key(plan: Plan, machine: Environment, bundles: Mapping[str, Bundle], code: str) -> str:
    """Of all that a part depends on: not of the load, which is another each time."""
    images = (image.tobytes() for probe in plan.probes for image in (probe.secret, probe.cover))
    weights = ((plan.weights / name).read_bytes() for name in WEIGHTS)
    return parts.key(
        *(machine.processor, machine.cores, machine.os, machine.python, machine.versions, machine.gpus),
        *(bundle.manifest_sha256 for bundle in bundles.values()),
        *(code, plan.threads, plan.quick, plan.rounds, plan.warm_up, plan.trips),
        *images,
        *weights,
    )
