"""``hidemia bench``: the report, and in it the speed table: every row a ratio measured in this run, on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hidemia.benchmarks import plain, probing, targets
from hidemia.benchmarks.assembly import SpeedTable, assemble
from hidemia.benchmarks.attacks.command import found_by
from hidemia.benchmarks.contenders import ENGINES, Feed, in_onnxruntime, installed
from hidemia.benchmarks.groups import Plan
from hidemia.benchmarks.latency import stages
from hidemia.benchmarks.packaged import add_model, check_weights
from hidemia.benchmarks.report import markdown, page
from hidemia.benchmarks.report.compare import comparable, lost, moves
from hidemia.benchmarks.report.document import FILE_NAME, Report, encode, read
from hidemia.benchmarks.report.measurements import Target
from hidemia.benchmarks.report.sections import warnings
from hidemia.benchmarks.timing import Run, bests, interleaved, matrix_product, medians, product_gflops
from hidemia.export.graphs import Analyze
from hidemia.export.probes import real, simulated
from hidemia.export.writing import to_onnx
from hidemia.runtime import Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.errors import DataError
from hidemia.runtime.manifest import Graph
from hidemia.training.invertible import InvertibleHider
from hidemia.training.system import System
from hidemia.training.weights import load_weights

ROUNDS, QUICK_ROUNDS = 15, 5
GRID_ROUNDS = 25  # of every rival at batch 1
IMAGES = 8  # as many as the largest batch
BEFORE = ("read the scan", "scale")  # stages before a trip whose scan has the network's size
ENGINE_STAGES = ("hide", "analyze", "recover")
HIDE_ROWS = (targets.hide_fp32_ort, targets.hide_fp32_best, targets.hide_int8_best)
ANALYZE_ROWS = (targets.modc_vs_branches, targets.modc_vs_plain)

Rounds = dict[str, list[float]]  # ms by rival, a value a round


@dataclass(frozen=True)
class Subject:
    """What is measured: the packaged model, the weights it came from, one image, and how."""

    client: Path
    server: Path
    system: System
    secret: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    threads: int
    rounds: int


def bench(arguments: list[str]) -> int:
    """Measure speed and cost, and write report.json, report.md and report.html."""
    parser = argparse.ArgumentParser(prog="hidemia bench", description=bench.__doc__)
    parser.add_argument("--quick", action="store_true", help="under five minutes: fewer rounds, batches and threads")
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), help="where the three files go (default: build/bench)"
    )
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run with this --out stopped")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="print what moved; exit 1 on a regression")
    add_model(parser)
    parser.add_argument("--data", type=Path, help="medical images; simulated ones without")
    parser.add_argument("--covers", type=Path, help="photos that go with --data")
    parser.add_argument(
        "--attacks", type=Path, metavar="ATTACKS.json", help="what `hidemia attacks` found, to be shown"
    )
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.covers is None):
        parser.error("--data and --covers go together")
    # Before the work: a wrong file should not cost an hour.
    old = read(options.compare) if options.compare else None
    attacks = found_by(options.attacks) if options.attacks else None
    check_weights(options.weights)
    system, config = load_weights(options.weights)
    if attacks and attacks.hider != config.name:
        raise DataError(
            f"{options.attacks}: expected attacks on {config.name}, got some on {attacks.hider}; "
            "run `hidemia attacks` on this model"
        )
    probes = (
        real(options.data, options.covers, config, IMAGES)
        if options.data
        else simulated(IMAGES, config.image_size_px, config.task)
    )
    secret, cover, _ = probes[0]
    quick = options.quick
    subject = Subject(
        options.client, options.server, system, secret, cover, usable_threads(), QUICK_ROUNDS if quick else ROUNDS
    )
    plan = Plan(
        client=options.client,
        server=options.server,
        weights=options.weights,
        probes=probes,
        real=options.data is not None,
        threads=subject.threads,
        quick=quick,
        rounds=QUICK_ROUNDS if quick else GRID_ROUNDS,
        warm_up=1 if quick else 3,
        trips=QUICK_ROUNDS if quick else GRID_ROUNDS,
    )
    console = Console(stderr=True)
    with Progress(*Progress.get_default_columns(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        report = assemble(
            plan,
            options.out / "parts",
            lambda: measure(subject),
            attacks,
            resume=options.resume,
            tell=lambda done, total, name: progress.update(task, completed=done, total=total, description=name),
        )
    write(report, options.out)
    show(report, Console(file=sys.stdout))
    return 0 if old is None else compared(old, report)


def write(report: Report, folder: Path) -> None:
    """The report and what is rendered from it, each file whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (
        (FILE_NAME, encode(report)),
        ("report.md", markdown.render(report).encode()),
        ("report.html", page.render(report).encode()),
    ):
        partial = folder / f".{name}.partial"
        partial.write_bytes(data)
        partial.replace(folder / name)


def compared(old: Report, new: Report) -> int:
    """Print what moved; 1 where something got worse beyond the limit."""
    found = moves(old, new)
    lines = [move.line() for move in found]
    if not comparable(old, new):
        lines.insert(0, "another machine or other threads: only what is counted is compared")
    lines += [f"not measured any more: {key}" for key in lost(old, new)]
    sys.stdout.write("\n".join(lines or ["nothing moved beyond its noise"]) + "\n")
    return 1 if any(move.regression for move in found) else 0


@torch.no_grad()
def measure(subject: Subject) -> SpeedTable:
    """Every row of the speed table, and beside it what it was made of."""
    hide, analyze, trip, batch = (take(subject) for take in (hide_times, analyze_times, trip_times, batch_times))
    multiply_adds = hide_multiply_adds(subject.system.hider, subject.secret.shape[0])
    rows: list[tuple[Callable[[targets.Times], Target], targets.Times]] = [
        *((lambda times, row=row: row(medians(times)), hide) for row in HIDE_ROWS),
        *((lambda times, row=row: row(medians(times)), analyze) for row in ANALYZE_ROWS),
        (lambda times: targets.peak_share(bests(times), multiply_adds, product_gflops(times["matrix product"])), hide),
        (lambda times: targets.trip_overhead(*medians(times).values()), trip),
        (lambda times: targets.batch8(*medians(times).values()), batch),
    ]
    return SpeedTable(
        targets=[
            *(targets.with_spread(row, times) for row, times in rows),
            *targets.startup(*probing.startup(subject.client)),
            targets.unmeasured("trt_fp16", 3.0, "x", "needs an NVIDIA GPU and TensorRT"),
        ],
        times_ms={
            "hide": _rounded(medians(hide)),
            "analyze": _rounded(medians(analyze)),
            "trip": _rounded(medians(trip) | medians(batch)),
        },
        rounds=subject.rounds,
    )


def hide_times(subject: Subject) -> Rounds:
    """Times of the hide graphs, plain and ours, and of the matrix product in the same rounds."""
    feed = {"secret": subject.secret[None], "cover": subject.cover[None]}
    example = {name: torch.from_numpy(value) for name, value in feed.items()}
    runs: dict[str, Run] = {}
    for name, whole in (("plain", True), ("plain without the unused half", False)):
        data = plain.plain_export(plain.PlainHide(subject.system.hider, whole=whole), example, "stego")
        runs[f"{name} onnxruntime"] = in_onnxruntime(data, feed, subject.threads)
    bundle = Bundle.open(subject.client, "client")
    runs |= _ours(bundle, "hide", feed, subject.threads)
    runs["matrix product"] = matrix_product()
    return interleaved(runs, subject.rounds)


def analyze_times(subject: Subject) -> Rounds:
    """Times of a whole analyzer of difference convolutions: six branches, plain convolutions, ours; every engine.

    Whichever model is packaged, this is `plain.MIXING`, with random weights, which cost what trained ones cost.
    """
    photo = torch.from_numpy(subject.cover[None])
    side = subject.cover.shape[0]
    system = replace(plain.MIXING, image_size_px=side).build()
    files = {
        name: plain.plain_export(plain.PlainAnalyze(rival(system.analyzer, side)), {"stego": photo}, "reply")
        for name, rival in (("branches", plain.branched), ("vanilla", plain.vanilla))
    }
    ours = Analyze(system, "one", side).eval()
    files["modc"] = to_onnx(ours, (photo,), ["stego"], ["reply"], dynamic=False)
    feed = {"stego": subject.cover[None]}
    runs: dict[str, Run] = {
        f"{name} {engine}": ENGINES[engine](data, feed, subject.threads)
        for name, data in files.items()
        for engine in installed()
    }
    # They are short: they scatter most and cost least, so a quick run takes them as often.
    return interleaved(runs, max(subject.rounds, ROUNDS))


def trip_times(subject: Subject) -> Rounds:
    """Times of a trip on loopback from a scan of the network's size, and the three engines within these trips.

    Timed apart, the engines took longer than the trip as often as not: on a machine whose rate drifts by a few percent
    the difference of two large times says nothing about a small one.
    """
    with stages.Trips(subject.client, subject.server, stages.WARM_UP + subject.rounds) as trips:
        split = {stage.name: stage.times_ms for stage in stages.stages(trips, subject.rounds)}
    engines = [sum(times) for times in zip(*(split[name] for name in ENGINE_STAGES), strict=True)]
    whole = [sum(times) for times in zip(*(split[name] for name in split if name not in BEFORE), strict=True)]
    return {"trip": whole, "engines": engines}


def batch_times(subject: Subject) -> Rounds:
    """Times of the server's analysis of one photo, and of a batch of eight."""
    eight = np.stack([subject.cover] * 8)
    with Server.load(subject.server) as server:
        runs = {"batch 1": lambda: server.analyze(subject.cover), "batch 8": lambda: server.analyze(eight)}
        return interleaved(runs, subject.rounds)


def hide_multiply_adds(hider: InvertibleHider, side: int) -> int:
    """Multiply-adds of the convolutions that a stego needs: all but the last block's rho and eta."""
    *inner, last = hider.blocks()
    subnets = [last.f, *(subnet for block in inner for subnet in (block.f, block.r, block.y))]
    weights = sum(p.numel() for subnet in subnets for p in subnet.parameters() if p.ndim == 4)
    return weights * (side // 2) ** 2


def _ours(bundle: Bundle, verb: str, feed: Feed, threads: int) -> dict[str, Run]:
    """The graph of every precision, in every engine: the one its manifest gives that engine, else the last."""
    runs = {}
    graphs = [graph for graph in bundle.manifest.graphs if graph.verb == verb and graph.serves(1)]
    for precision in dict.fromkeys(graph.precision for graph in graphs):
        mine = [graph for graph in graphs if graph.precision == precision]
        for engine in installed():
            runs[f"{precision} {engine}"] = ENGINES[engine](bundle.read(_listed(mine, engine)), feed, threads)
    return runs


def _listed(graphs: list[Graph], engine: str) -> Graph:
    """The first graph for an engine; for one that the manifest does not list, the form that serves all."""
    listed = [graph for graph in graphs if engine in graph.backends]
    static = [graph for graph in graphs if "tiled" not in graph.path]
    return (listed or static)[0]


def show(report: Report, console: Console) -> None:
    """Print the speed table, the memory of each network at batch 1, and what makes them worth little."""
    table = Table("row", "target", "measured", "unit", "holds")
    for row in report.targets:
        measured = "-" if row.measured is None else f"{row.measured:g}"
        table.add_row(
            row.id, f"{row.target:g}", measured, row.unit, {True: "yes", False: "no"}.get(row.holds, row.reason)
        )
    console.print(table)
    peaks = Table("network, alone in a process, batch 1", "peak MiB")
    for timing in report.timings:
        if timing.graph and timing.batch == 1 and timing.peak_mib is not None:
            peaks.add_row(f"{timing.graph} in {timing.backend}, {timing.threads} threads", f"{timing.peak_mib:.0f}")
    console.print(peaks)
    for warning in warnings(report):
        console.print(warning)


def _rounded(ms: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in ms.items()}
