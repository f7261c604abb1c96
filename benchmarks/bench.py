"""``hidemia bench``: the speed table, every row as a ratio measured in this run, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from hidemia.benchmarks import plain, probing, targets
from hidemia.benchmarks.contenders import ENGINES, Feed, in_onnxruntime, installed
from hidemia.benchmarks.timing import STEADY, Run, interleaved, matrix_product, medians, product_gflops, unsteadiness
from hidemia.export.probes import simulated
from hidemia.runtime import Client, Server, defaults
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.demo.process import running
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.manifest import Graph
from hidemia.training.invertible import InvertibleHider
from hidemia.training.system import System
from hidemia.training.weights import load_weights

ROUNDS, QUICK_ROUNDS = 15, 5
PACKAGES = ("hidemia", "onnxruntime", "openvino", "numpy", "torch")


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
    """Measure the speed table and write report.json."""
    parser = argparse.ArgumentParser(prog="hidemia bench", description=bench.__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the rounds")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where report.json goes")
    parser.add_argument("--client", type=Path, default=defaults.bundle("client"), help="client bundle")
    parser.add_argument("--server", type=Path, default=defaults.bundle("server"), help="server bundle")
    parser.add_argument("--weights", type=Path, default=Path("weights/busi"), help="the weights they were made from")
    options = parser.parse_args(arguments)
    system, config = load_weights(options.weights)
    ((secret, cover, _),) = simulated(1, config.image_size_px)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    subject = Subject(options.client, options.server, system, secret, cover, usable_threads(), rounds)
    report = measure(subject, Console(stderr=True))
    options.out.mkdir(parents=True, exist_ok=True)
    partial = options.out / ".report.json.partial"
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(options.out / "report.json")
    show(report, Console(file=sys.stdout))
    return 0


def measure(subject: Subject, console: Console) -> dict[str, object]:
    """Every row, and beside it what it was made of: the content of report.json."""
    torch.set_grad_enabled(False)
    parts: dict[str, Callable[[], object]] = {
        "hide": lambda: hide_times(subject),
        "analyze": lambda: analyze_times(subject),
        "trip": lambda: trip_times(subject),
        "startup": lambda: probing.startup(subject.client),
        "memory": lambda: memory(subject),
    }
    found: dict[str, object] = {}
    start = perf_counter()
    for name, part in parts.items():
        if console.is_terminal:
            console.print(f"{len(found) + 1}/{len(parts)} {name}")
        found[name] = part()
    hide, gflops, unsteady = found["hide"]  # type: ignore[misc]
    analyze, (trip_ms, engines_ms, one_ms, eight_ms) = found["analyze"], found["trip"]  # type: ignore[misc]
    rows = [
        targets.hide_fp32_ort(hide),
        targets.hide_fp32_best(hide),
        targets.hide_int8_best(hide),
        targets.modc_vs_branches(analyze),  # type: ignore[arg-type]
        targets.modc_vs_plain(analyze),  # type: ignore[arg-type]
        targets.peak_share(hide, hide_multiply_adds(subject.system.hider, subject.secret.shape[0]), gflops),
        targets.trip_overhead(trip_ms, engines_ms),
        targets.batch8(one_ms, eight_ms),
        *targets.startup(*found["startup"]),  # type: ignore[misc]
        targets.unmeasured("trt_fp16", 3.0, "x", "needs an NVIDIA GPU and TensorRT"),
    ]
    trip = {"trip": trip_ms, "engines": engines_ms, "batch 1": one_ms, "batch 8": eight_ms}
    return {
        "targets": [row.entry() for row in rows],
        "times_ms": {"hide": _rounded(hide), "analyze": _rounded(analyze), "trip": _rounded(trip)},  # type: ignore[arg-type]
        "peak_mib": found["memory"],
        "matrix_product_gflops": round(gflops, 1),
        "unsteadiness": round(unsteady, 2),
        "environment": environment(subject.threads),
        "method": {
            "rounds": subject.rounds,
            "statistic": "median of rounds; in each round every rival runs once, after 3 rounds of warm-up",
            "image": f"{subject.secret.shape[0]}x{subject.secret.shape[1]}, batch 1, simulated",
            "seconds": round(perf_counter() - start, 1),
        },
    }


def hide_times(subject: Subject) -> tuple[dict[str, float], float, float]:
    """Medians of the hide graphs, plain and ours; the best matrix product of the same rounds, and its unsteadiness."""
    feed = {"secret": subject.secret[None], "cover": subject.cover[None]}
    example = {name: torch.from_numpy(value) for name, value in feed.items()}
    runs: dict[str, Run] = {}
    for name, whole in (("plain", True), ("plain without the unused half", False)):
        data = plain.plain_export(plain.PlainHide(subject.system.hider, whole=whole), example, "stego")
        runs[f"{name} onnxruntime"] = in_onnxruntime(data, feed, subject.threads)
    bundle = Bundle.open(subject.client, "client")
    runs |= _ours(bundle, "hide", feed, subject.threads)
    runs["matrix product"] = matrix_product()
    times = interleaved(runs, subject.rounds)
    product = times["matrix product"]
    return medians(times), product_gflops(product), unsteadiness(product)


def analyze_times(subject: Subject) -> dict[str, float]:
    """Medians of the whole analyzer: six branches, plain convolutions, ours; every engine."""
    feed = {"stego": subject.cover[None]}
    example = {"stego": torch.from_numpy(subject.cover[None])}
    side = subject.cover.shape[0]
    runs: dict[str, Run] = {}
    for name, rival in (("branches", plain.branched), ("vanilla", plain.vanilla)):
        data = plain.plain_export(plain.PlainAnalyze(rival(subject.system.analyzer, side)), example, "reply")
        for engine in installed():
            runs[f"{name} {engine}"] = ENGINES[engine](data, feed, subject.threads)
    for name, run in _ours(Bundle.open(subject.server, "server"), "analyze", feed, subject.threads).items():
        precision, engine = name.split(" ", 1)
        runs[f"{'modc' if precision == 'fp32' else precision} {engine}"] = run
    return medians(interleaved(runs, subject.rounds))


def trip_times(subject: Subject) -> tuple[float, float, float, float]:
    """Medians in ms: a trip on loopback, its three engines alone, the server at batch 1 and at batch 8."""
    serve = [sys.executable, "-m", "hidemia.runtime.cli", "serve", "--server", str(subject.server)]
    with Client.load(subject.client) as client, Server.load(subject.server) as server, running(serve) as url:
        stego = client.hide(subject.secret, subject.cover)
        reply = server.analyze(stego)
        eight = np.stack([stego] * 8)
        times = medians(
            interleaved(
                {
                    "trip": lambda: client.send(
                        subject.secret, url, cover=subject.cover, allow_reuse=True, public_key_ok=True
                    ),
                    "hide": lambda: client.hide(subject.secret, subject.cover),
                    "batch 1": lambda: server.analyze(stego),
                    "recover": lambda: client.recover(reply, sent=stego),
                    "batch 8": lambda: server.analyze(eight),
                },
                subject.rounds,
            )
        )
    engines = times["hide"] + times["batch 1"] + times["recover"]
    return times["trip"], engines, times["batch 1"], times["batch 8"]


def memory(subject: Subject) -> dict[str, float]:
    """Peak resident memory in MiB of a fresh process for each graph that is used, and each engine."""
    found = {}
    for bundle in (Bundle.open(subject.client, "client"), Bundle.open(subject.server, "server")):
        for graph in bundle.manifest.graphs:
            names = [tensor.name for tensor in graph.inputs]
            for engine in installed():
                peak = probing.peak_mib(
                    bundle.path / graph.path, engine, subject.threads, bundle.manifest.image_size_px, names
                )
                found[f"{graph.path} {engine}"] = round(peak, 1)
    return found


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


def environment(threads: int) -> dict[str, object]:
    """What a reader needs to judge the figures."""
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "threads": threads,
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = info.read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def show(report: dict[str, object], console: Console) -> None:
    """Print the table, and the memory under it."""
    table = Table("row", "target", "measured", "unit", "holds")
    for row in report["targets"]:  # type: ignore[attr-defined]
        measured = "-" if row["measured"] is None else f"{row['measured']:g}"
        holds = {True: "yes", False: "no", None: row.get("reason", "")}[row["holds"]]
        table.add_row(row["id"], f"{row['target']:g}", measured, row["unit"], holds)
    console.print(table)
    peaks = Table("graph and engine", "peak MiB")
    for name, mib in report["peak_mib"].items():  # type: ignore[attr-defined]
        peaks.add_row(name, f"{mib:.0f}")
    console.print(peaks)
    if report["unsteadiness"] > STEADY:  # type: ignore[operator]
        console.print(
            f"The machine was not steady (the matrix product's median is {report['unsteadiness']} times its best): "
            "nothing above is worth keeping; run again when nothing else runs."
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _rounded(ms: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in ms.items()}
