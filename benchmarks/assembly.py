"""A report from its parts: counts, the speed table, every rival in turn, the trip, power, and what is visible."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from hidemia.benchmarks.cost import graph, networks
from hidemia.benchmarks.environment import environment
from hidemia.benchmarks.latency import parts, power, rivals, rounds, stages
from hidemia.benchmarks.latency.rival import Rival
from hidemia.benchmarks.latency.worker import COPY_BYTES
from hidemia.benchmarks.report.document import (
    Environment,
    GraphFile,
    Limit,
    Method,
    Model,
    NetworkCost,
    Picture,
    Power,
    Report,
    Stage,
    Target,
    Timing,
    Visibility,
)
from hidemia.benchmarks.timing import product_gflops, unsteadiness
from hidemia.benchmarks.visibility import visibility
from hidemia.export.freshness import code_sha256
from hidemia.export.probes import Probes
from hidemia.runtime.bundle import Bundle
from hidemia.training.system import System
from hidemia.training.weights import load_weights

LAYERS = ("runtime", "training", "export", "benchmarks")
WEIGHTS = ("config.json", "hider.safetensors", "analyzer.safetensors")
VERBS = ("hide", "analyze", "recover")
FEWEST = 10  # rounds of any group of the whole report
LARGE = 20_000_000
"""Parameters above which --quick does not count a network: exporting them takes longer than measuring."""

ABSENT = {
    "attacks": "this report has no attacks on the photos yet. Expect detection: no claim is made beyond the eye",
}


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


class SpeedTable(Struct, frozen=True, kw_only=True):
    """Rows of the speed table and what they were made of."""

    targets: list[Target]
    times_ms: dict[str, dict[str, float]]
    rounds: int


class Seen(Struct, frozen=True, kw_only=True):
    """What is visible."""

    visibility: list[Visibility]
    pictures: list[Picture]


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


def assemble(
    plan: Plan,
    folder: Path,
    speed_table: Callable[[], SpeedTable],
    *,
    resume: bool,
    tell: Callable[[int, int, str], None],
) -> Report:
    """Measure what is not there yet, and put the report together.

    Args:
        plan: What is measured.
        folder: Where the parts lie.
        speed_table: Measures the rows of the speed table.
        resume: Take parts that lie there for the same machine, bundles, weights and code.
        tell: Told how many parts are done, of how many, and what is measured next.
    """
    torch.set_grad_enabled(False)
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
        absent=ABSENT,
    )


class Measuring:
    """Measures groups of rivals on one set of inputs, prepared when the first group asks.

    Args:
        plan: What is measured.
        system: The trained networks: the reference.
        threshold: Of a mask.
        bundles: By role.
        inputs: An empty folder.
    """

    def __init__(
        self, plan: Plan, system: System, threshold: float, bundles: Mapping[str, Bundle], inputs: Path
    ) -> None:
        self.plan, self.system, self.threshold, self.bundles, self.inputs = plan, system, threshold, bundles, inputs
        self._expected: dict[str, NDArray[Any]] = {}

    def __call__(self, group: Group) -> list[Timing]:
        """The rows of a group; those of the machine's limits among them."""
        expected = self._expected or self._prepare()
        return rounds.measured(
            self._rivals(group),
            group.rounds,
            inputs=self.inputs,
            expected=expected,
            threshold=self.threshold,
            warm_up=self.plan.warm_up,
        )

    def _rivals(self, group: Group) -> list[Rival]:
        verb, batch, threads = group.verb, group.batch, group.threads
        bundle = self.bundles["server" if verb == "analyze" else "client"]
        found = rivals.of_bundle(bundle, verb, batch, threads)
        if batch == 1:
            found += rivals.of_files(self._plain(verb), verb, threads)
        found += rivals.of_torch(self.plan.weights, verb, batch, threads, quick=self.plan.quick)
        return [*found, *rivals.limits(threads)]

    def _plain(self, verb: str) -> dict[str, Path]:
        """The plain exports as files."""
        found = {}
        side = self.bundles["client"].manifest.image_size_px
        for name, data in rivals.plain_exports(self.system, verb, side).items():
            found[name] = self.inputs / f"{name}.onnx"
            found[name].write_bytes(data)
        return found

    def _prepare(self) -> dict[str, NDArray[Any]]:
        """Every verb's inputs as files, and what the trained networks make of them."""
        made: dict[str, NDArray[Any]] = {
            "secret": np.stack([probe.secret for probe in self.plan.probes]),
            "cover": np.stack([probe.cover for probe in self.plan.probes]),
        }
        made["stego"] = made["sent"] = self._by_torch("hide", made["secret"], made["cover"])
        made["reply"] = self._by_torch("analyze", made["stego"])
        for name, photos in made.items():
            np.save(self.inputs / f"{name}.npy", photos)
        probability = self._by_torch("recover", made["reply"], made["sent"])
        self._expected = {"hide": made["stego"], "analyze": made["reply"], "recover": probability}
        return self._expected

    def _by_torch(self, verb: Any, *photos: NDArray[Any]) -> NDArray[Any]:
        module = rivals.Trained(self.system, verb).eval()
        # One at a time: eight at once would take the memory that rivals are about to need.
        made = [module(*(torch.from_numpy(photo[None]) for photo in one)) for one in zip(*photos, strict=True)]
        return np.concatenate([one.numpy() for one in made])


def limits(timings: list[Timing]) -> list[Limit]:
    """The machine's limits for each number of threads: the best rates of all groups."""
    found = []
    for threads in sorted({timing.threads for timing in timings}):
        mine = [timing for timing in timings if timing.verb == "limit" and timing.threads == threads]
        product = [ms for timing in mine if timing.rival == "matrix product" for ms in timing.times_ms]
        copy = [ms for timing in mine if timing.rival == "copy" for ms in timing.times_ms]
        if product and copy:
            found.append(
                Limit(
                    threads=threads,
                    product_gflops=round(product_gflops(product), 1),
                    copy_gb_s=round(2 * COPY_BYTES / min(copy) / 1e6, 2),  # read and written
                    unsteadiness=round(unsteadiness(product), 3),
                )
            )
    return found


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
