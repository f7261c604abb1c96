"""Who is measured side by side: the graphs of the bundles in their engines, plain exports, and PyTorch itself."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_args

import torch
from torch import nn

from hidemia.benchmarks import plain
from hidemia.benchmarks.contenders import installed
from hidemia.benchmarks.cost.networks import NAMES
from hidemia.benchmarks.latency.rival import Rival, Way
from hidemia.benchmarks.latency.worker import INPUTS
from hidemia.export.trained import Trained
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.manifest import Graph
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.pairs import HIDERS, RIVALS
from hidemia.training.recipes import RECIPES
from hidemia.training.system import System

ENGINES_OF_GPUS = ("tensorrt",)
SMALL = AnalyzerConfig(width=8, levels=2, attention_levels=0)  # beside a hider that is measured alone


def of_bundle(bundle: Bundle, verb: str, batch: int, threads: int) -> list[Rival]:
    """Every graph of a bundle in every engine that its manifest gives it; those that are not here with a reason."""
    found = []
    for graph in bundle.manifest.graphs:
        if graph.verb == verb and graph.serves(batch):
            found += [_of_graph(bundle, graph, backend, batch, threads) for backend in graph.backends]
    return found


def _of_graph(bundle: Bundle, graph: Graph, backend: str, batch: int, threads: int) -> Rival:
    reason = ""
    if backend in ENGINES_OF_GPUS:
        reason = "needs an NVIDIA GPU; make check-gpu measures there"
    elif backend not in installed():
        reason = f"{backend} is not installed"
    return Rival(
        kind="bundle",
        name="bundle",
        verb=graph.verb,
        backend=backend,
        batch=batch,
        threads=threads,
        precision=graph.precision,
        source=str(bundle.path),
        graph=graph.path,
        reason=reason,
    )


def plain_exports(system: System, verb: str, side: int) -> dict[str, bytes]:
    """What `torch.onnx.export` makes of a network as in the papers, by name; see `hidemia.benchmarks.plain`."""
    photo = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    if verb == "hide":
        return {
            "plain export": plain.plain_export(
                plain.PlainHide(system.hider), {"secret": photo, "cover": photo.clone()}, "stego"
            )
        }
    if verb == "recover":
        return {}
    makers: dict[str, Callable[..., nn.Module]] = (
        {"six branches": plain.branched, "plain convolutions": plain.vanilla}
        if system.analyzer.config.k > 0
        else {"plain export": plain.vanilla}
    )
    return {
        name: plain.plain_export(plain.PlainAnalyze(make(system.analyzer, side)), {"stego": photo}, "reply")
        for name, make in makers.items()
    }


def of_files(files: dict[str, Path], verb: str, threads: int) -> list[Rival]:
    """Plain exports, whose batch is fixed at 1, in every engine at its defaults."""
    # Plain convolutions compute something else on purpose: they are there for their time alone.
    return [
        Rival(
            kind="file",
            name=name,
            verb=verb,
            backend=backend,
            batch=1,
            threads=threads,
            source=str(file),
            trained=name != "plain convolutions",
        )
        for name, file in files.items()
        for backend in installed()
    ]


def paper_exports(verb: str, side: int) -> Iterator[tuple[str, bytes]]:
    """Every network of the papers that does a verb, exported as it is between the photos of a trip, by name.

    One at a time: some take more than a gigabyte. Their weights are random, which costs what trained ones cost.
    """
    photo = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    inputs = {name: photo.clone() for name in INPUTS[verb]}
    paper = RECIPES["paper"].model
    models = (
        {"hidemia": paper, **{name: dataclasses.replace(paper, analyzer=rival) for name, rival in RIVALS.items()}}
        if verb == "analyze"
        else {name: dataclasses.replace(paper, hider=hider, analyzer=SMALL) for name, hider in HIDERS.items()}
    )
    for name, model in models.items():
        system = dataclasses.replace(model, form="differential", image_size_px=side).build()
        yield NAMES[name], plain.plain_export(Trained(system, verb), inputs, "out")  # type: ignore[arg-type]


def of_paper(files: dict[str, Path], verb: str, threads: int) -> list[Rival]:
    """Networks of the papers in ONNX Runtime at its defaults."""
    return [
        Rival(
            kind="file",
            name=name,
            verb=verb,
            backend="onnxruntime",
            batch=1,
            threads=threads,
            source=str(file),
            paper=True,
            trained=False,
        )
        for name, file in files.items()
    ]


def of_torch(weights: Path, verb: str, batch: int, threads: int, *, quick: bool) -> list[Rival]:
    """PyTorch in its three ways at batch 1, eager beyond; compiled where there is a compiler. Quick: eager alone."""
    return [
        Rival(
            kind="torch",
            name=f"PyTorch {way}",
            verb=verb,
            backend="torch",
            batch=batch,
            threads=threads,
            source=str(weights),
            way=way,
            reason=_left_out(way, batch) if quick else _no_compiler(way),
        )
        for way in get_args(Way)
        if way == "eager" or quick or batch == 1
    ]


def limits(threads: int) -> list[Rival]:
    """What the machine can do at best, measured between the others."""
    return [
        Rival(kind=kind, name=name, verb="limit", backend="numpy", batch=1, threads=threads)  # type: ignore[arg-type]
        for kind, name in (("product", "matrix product"), ("copy", "copy"))
    ]


def _left_out(way: str, batch: int) -> str:
    """Starting PyTorch costs more than all runs of a quick report: only what the others are held against is there."""
    return "" if (way, batch) == ("eager", 1) else "left out by --quick"


def _no_compiler(way: str) -> str:
    compilers: Iterable[str] = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    if way == "compiled" and not any(shutil.which(compiler) for compiler in compilers):
        return "torch.compile needs a C++ compiler, and there is none"
    return ""
