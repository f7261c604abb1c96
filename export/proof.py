"""The proof of a model's graphs: FP32 against PyTorch, and the other precisions against FP32, in every engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, get_args

from hidemia.export import trip
from hidemia.export.calibration import Calibration
from hidemia.export.parity import (
    BACKENDS,
    DEEP_IDENTICAL_SHARE,
    IDENTICAL_SHARE,
    LITERAL,
    Feed,
    Outputs,
    Parity,
    Run,
    checked_in,
    engines,
    reference,
)
from hidemia.export.probes import Probes, spread
from hidemia.export.quantize import LAYOUTS, Layout
from hidemia.export.tracing import Exported
from hidemia.export.trained import Trained
from hidemia.export.trip import Figures
from hidemia.export.variants import FORMS, in_fp16, in_int8
from hidemia.runtime.manifest import Precision, Verb
from hidemia.training.model import ModelConfig
from hidemia.training.pixels import PixelAnalyzer
from hidemia.training.system import System
from hidemia.training.transunet import TransUNet
from hidemia.training.xnet import XNet

MEASURED_RUNS = 5
PARITY_PROBES = 6  # PyTorch is slow; the trips of the budgets are made with all


@dataclass(frozen=True)
class Export:
    """All graphs of a model, and the figures of its trips in each precision and engine."""

    graphs: list[Exported]
    trips: dict[Precision, dict[str, Figures]]


def prove(system: System, config: ModelConfig, made: Mapping[str, Exported], probes: Probes) -> list[Exported]:
    """Compare each graph in each engine with PyTorch on every probe, along the trip a photo makes; enforce the budget.

    The reference is the network as it was trained, not its deployed form.
    """
    runs = {path: engines(item.data, item.graph) for path, item in made.items()}
    trained = {verb: Trained(system, verb) for verb in get_args(Verb)}
    for secret, cover, _ in probes:
        photos = {"secret": secret[None], "cover": cover[None]}
        for path, item in made.items():
            feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
            expected = reference(trained[item.graph.verb], feed)
            for name, run in runs[path].items():
                _compare(item, item.parity[name], expected, run(feed), config.mask_threshold)
            if item.graph.verb == "hide":
                photos["stego"] = photos["sent"] = expected[0]
                (photos["reply"],) = reference(trained["analyze"], {"stego": expected[0]})
    for path, item in made.items():
        feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
        for name, run in runs[path].items():
            item.parity[name].require(f"{path} in {name}", identical_share(system, item))
            item.latency_ms[name] = latency_ms(run, feed)
    return list(made.values())


def identical_share(system: System, item: Exported) -> float:
    """The least share of equal values that a photo of this graph may have."""
    analyzer = system.analyzer
    deep = isinstance(analyzer, PixelAnalyzer) and isinstance(analyzer.network, TransUNet | XNet)
    return DEEP_IDENTICAL_SHARE if deep and item.graph.verb == "analyze" else IDENTICAL_SHARE


def _compare(item: Exported, parity: Parity, expected: Outputs, got: Outputs, threshold: float) -> None:
    if item.graph.verb != "recover":
        parity.add_photo(expected[0], got[0])
        return
    parity.add_result(expected[0][0], got[0][0], threshold)
    for reference_seal, seal in zip(expected[1:], got[1:], strict=True):
        parity.add_seal(reference_seal[0], seal[0])


def with_variants(
    fp32: list[Exported],
    precisions: Sequence[Precision],
    ranges: Calibration | None,
    probes: Probes,
    threshold: float | None,
    layouts: Sequence[Layout] = LAYOUTS[:1],
) -> Export:
    """Add the other precisions to proven FP32 graphs, each held to its budget in each engine.

    Args:
        fp32: proven.
        precisions: what is wanted.
        ranges: for int8.
        probes: the trips.
        threshold: of a mask's pixels; None for classification.
        layouts: for whom int8 is written.

    Raises:
        ExportError: a precision costs more than it may.
    """
    runs = _runs(fp32)
    reference_trips = {}
    for backend in BACKENDS:
        reference_trips[backend], found = trip.travel(_verbs(runs, backend), probes, threshold)
        if backend == BACKENDS[0]:
            probes = trip.known(probes, found, threshold)
    export = Export(list(fp32), {"fp32": reference_trips})
    for precision, made in _variants(fp32, precisions, ranges, layouts):
        variants = _runs(made)
        for backend in checked_in(made[0].graph):
            figures, _ = trip.travel(_verbs(variants, backend), probes, threshold)
            trip.require(precision, backend, reference_trips.get(backend, reference_trips[BACKENDS[0]]), figures)
            export.trips.setdefault(precision, {})[backend] = figures
        _compare_with_fp32(made, runs, variants, spread(probes, PARITY_PROBES), threshold or 0.5)
        export.graphs.extend(made)
    return export


def _variants(
    fp32: list[Exported], precisions: Sequence[Precision], ranges: Calibration | None, layouts: Sequence[Layout]
) -> Iterator[tuple[Precision, list[Exported]]]:
    """The graphs of each precision; those of INT8 once for each layout."""
    plain = [item for item in fp32 if item.graph.form in FORMS]
    if "fp16" in precisions:
        yield "fp16", [Exported(*in_fp16(item.graph, item.data)) for item in plain]
    if "int8" in precisions and ranges is not None:
        for layout in layouts:
            own = ranges.of(layout)
            yield (
                "int8",
                [Exported(*in_int8(item.graph, item.data, own[item.graph.verb], layout)) for item in plain],
            )


Runs: TypeAlias = dict[Verb, dict[str, Run]]
"""Of each verb, of its form that every precision has, a function for each engine."""


def _runs(items: Sequence[Exported]) -> Runs:
    return {item.graph.verb: engines(item.data, item.graph) for item in items if item.graph.form in FORMS}


def _verbs(runs: Runs, backend: str) -> dict[Verb, trip.Run]:
    return {verb: run[backend] for verb, run in runs.items()}


def _compare_with_fp32(made: list[Exported], fp32: Runs, runs: Runs, probes: Probes, threshold: float) -> None:
    """How far each graph of a precision is from FP32 on the same inputs, and how long it takes."""
    plain = _verbs(fp32, BACKENDS[0])
    for probe in probes:
        photos = {"secret": probe.secret[None], "cover": probe.cover[None]}
        photos["stego"] = photos["sent"] = plain["hide"](photos)[0]
        photos["reply"] = plain["analyze"]({"stego": photos["stego"]})[0]
        for item in made:
            feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
            expected = fp32[item.graph.verb][BACKENDS[0]](feed)
            for backend, run in runs[item.graph.verb].items():
                _compare(item, item.parity[backend], expected, run(feed), threshold)
    for item in made:
        feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
        for backend, run in runs[item.graph.verb].items():
            if backend != LITERAL:  # which no product runs
                item.latency_ms[backend] = latency_ms(run, feed)


def latency_ms(run: Run, feed: Feed) -> float:
    """Median of a few runs at batch 1, after the runs of the comparison."""
    times = []
    for _ in range(MEASURED_RUNS):
        start = time.perf_counter()
        run(feed)
        times.append((time.perf_counter() - start) * 1e3)
    return round(statistics.median(times), 2)
