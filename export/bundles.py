"""A trained model -> client and server bundles, each precision checked and all written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from hidemia.export import calibration, trip
from hidemia.export.calibration import Calibration
from hidemia.export.deploy import Form
from hidemia.export.freshness import MEASURED
from hidemia.export.graphs import Analyze, Hide, Recover, pixels_in, pixels_out
from hidemia.export.hider import TILED_SIDE, HiderForm
from hidemia.export.parity import (
    BACKENDS,
    DEEP_IDENTICAL_SHARE,
    IDENTICAL_SHARE,
    Feed,
    Outputs,
    Parity,
    Run,
    engines,
    reference,
)
from hidemia.export.probes import Probes, spread
from hidemia.export.publishing import published, write
from hidemia.export.trip import Figures
from hidemia.export.variants import FORMS, variant
from hidemia.export.writing import IR_VERSION, OPSET, to_onnx
from hidemia.runtime import manifest as manifests
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.manifest import Graph, Manifest, Precision, ReplyLimits, Role, Verb
from hidemia.training.analyzer import Analyzer
from hidemia.training.invertible import InvertibleHider
from hidemia.training.pixels import PixelAnalyzer
from hidemia.training.recipes import ModelConfig
from hidemia.training.seal import TILES, agreement
from hidemia.training.system import System
from hidemia.training.transunet import TransUNet
from hidemia.training.weights import load_weights
from hidemia.training.xnet import XNet

MEASURED_RUNS = 5
PARITY_PROBES = 6  # PyTorch is slow; the trips of the budgets are made with all
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")  # the manifest's order: the first is the default

# Of the graphs that serve, the first of the manifest is taken. In ONNX Runtime on the CPU `tiled` was faster than
# `direct`, in OpenVINO slower (docs/hider.md), so `tiled` is offered to the first alone. `direct` serves all.
HIDER_FORMS: tuple[HiderForm, ...] = ("tiled", "direct")
ANALYZER_FORMS: tuple[Form, ...] = ("one", "any")


@dataclass
class Exported:
    """One graph: what the manifest says of it, its bytes, and what was measured in each engine."""

    graph: Graph
    data: bytes
    parity: dict[str, Parity] = field(default_factory=lambda: {name: Parity() for name in BACKENDS})
    latency_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Export:
    """All graphs of a model, and the figures of its trips in each precision and engine."""

    graphs: list[Exported]
    trips: dict[Precision, dict[str, Figures]]


def export_model(
    weights: Path,
    out: Path,
    probes: Probes,
    *,
    public_key: bool,
    precisions: Sequence[Precision] | None = None,
    server_precisions: Sequence[Precision] = PRECISIONS,
    key: str | None = None,
) -> Export:
    """Write ``out/client`` and ``out/server`` from a folder of weights.

    Args:
        weights: made by `hidemia train`.
        out: its client and server are replaced as a whole, once everything is proven.
        probes: trips that every graph and every precision is checked with.
        public_key: whether the weights are published, so that anyone can recover.
        precisions: FP32, the reference, and what is wanted beside it; what the weights allow when None.
        server_precisions: of these, what the server's bundle keeps; an analyzer is large. All are proven.
        key: what this export depends on, see `hidemia.export.freshness`; kept in ``measured.json``.

    Returns:
        What was exported, with its parity, latency and figures.

    Raises:
        TrainingError: the weights are missing or do not fit their configuration.
        ExportError: a graph breaks a rule, differs from PyTorch by more than is allowed, or costs more than its
            precision may; there is no calibration of these weights; the folder cannot be written.
    """
    system, config = load_weights(weights)
    wanted = offered(weights) if precisions is None else [name for name in PRECISIONS if name in precisions]
    ranges = calibration.load(weights) if "int8" in wanted else None
    with published(out, ("client", "server")) as folder:
        made = traced(system, config)
        fp32 = prove(system, config, made, spread(probes, PARITY_PROBES))
        export = with_variants(fp32, wanted, ranges, probes, manifest_threshold(config))
        hashes = calibration.weights_sha256(weights)
        pair_id = _sha256("".join(hashes.values()).encode())
        halves: tuple[tuple[Role, str], ...] = (("client", "hider"), ("server", "analyzer"))
        for role, part in halves:
            kept = PRECISIONS if role == "client" else server_precisions
            mine = [
                item
                for item in export.graphs
                if item.graph.verb in manifests.VERBS[role] and item.graph.precision in kept
            ]
            manifest = _manifest(config, role, pair_id, mine, {part: hashes[part]}, public_key=public_key)
            _write_bundle(folder / role, manifest, mine, export.trips, len(probes), key)
    return export


def offered(weights: Path) -> list[Precision]:
    """The precisions that a folder of weights allows: INT8 needs a calibration."""
    return [name for name in PRECISIONS if name != "int8" or (weights / calibration.FILE_NAME).is_file()]


def with_variants(
    fp32: list[Exported],
    precisions: Sequence[Precision],
    ranges: Calibration | None,
    probes: Probes,
    threshold: float | None,
) -> Export:
    """Add the other precisions to proven FP32 graphs, each held to its budget in each engine.

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
    for precision in precisions:
        if precision == "fp32":
            continue
        made = []
        for item in fp32:
            if item.graph.form in FORMS:
                own = ranges.graphs[item.graph.verb] if ranges and precision == "int8" else None
                made.append(Exported(*variant(item.graph, item.data, precision, own)))
        variants = runs | _runs(made)
        export.trips[precision] = {}
        for backend in BACKENDS:
            figures, _ = trip.travel(_verbs(variants, backend), probes, threshold)
            trip.require(precision, backend, reference_trips[backend], figures)
            export.trips[precision][backend] = figures
        _compare_with_fp32(made, runs, variants, spread(probes, PARITY_PROBES), threshold or 0.5)
        export.graphs.extend(made)
    return export


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
            item.latency_ms[backend] = _latency_ms(run, feed)


def manifest_threshold(config: ModelConfig) -> float | None:
    """The threshold of masks; None where there are none."""
    return config.mask_threshold if config.task == "segmentation" else None


def traced(system: System, config: ModelConfig) -> dict[str, tuple[nn.Module, Exported]]:
    """Every graph by file name, traced and linted, with the module it came from."""
    side = config.image_size_px
    photo = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    invertible, mixes = isinstance(system.hider, InvertibleHider), isinstance(system.analyzer, Analyzer)
    forms = [form for form in HIDER_FORMS if form == "direct" or (invertible and side % TILED_SIDE == 0)]
    results = ["probability"] if config.seal is None else ["probability", "seal"]
    plans: list[tuple[str, nn.Module, list[str], list[str], str | None]] = [
        *(("hide", Hide(system, form, side), ["secret", "cover"], ["stego"], form) for form in forms),
        *(("recover", Recover(system, form, side), ["reply", "sent"], results, form) for form in forms),
        *(
            ("analyze", Analyze(system, form, side), ["stego"], ["reply"], form)
            for form in (ANALYZER_FORMS if mixes else ANALYZER_FORMS[1:])
        ),
    ]
    made = {}
    for verb, module, names, outputs, form in plans:
        module.eval().requires_grad_(requires_grad=False)
        dynamic = form != "one"
        data = to_onnx(module, tuple(photo if dynamic else photo[:1] for _ in names), names, outputs, dynamic)
        path = f"{verb}.fp32.onnx" if form == "direct" else f"{verb}.fp32.{form}.onnx"
        graph = Graph(
            verb=verb,  # type: ignore[arg-type]
            path=path,
            sha256=_sha256(data),
            size_bytes=len(data),
            precision="fp32",
            precision_achieved="fp32",
            fp32_nodes=[],
            opset=OPSET,
            ir_version=IR_VERSION,
            form=None if form == "direct" else form,  # type: ignore[arg-type]
            batch=(1, None) if dynamic else (1, 1),
            backends=["onnxruntime"] if form == "tiled" else BACKENDS,
            inputs=[_photo(name, side, dynamic) for name in names],
            outputs=_results(config, dynamic) if verb == "recover" else [_photo(outputs[0], side, dynamic)],
        )
        made[path] = (module, Exported(graph, data))
    return made


def prove(
    system: System, config: ModelConfig, made: dict[str, tuple[nn.Module, Exported]], probes: Probes
) -> list[Exported]:
    """Compare each graph in each engine with PyTorch on every probe, along the trip a photo makes; enforce the budget.

    The reference is the network as it was trained, not its deployed form.
    """
    runs = {path: engines(item.data, item.graph) for path, (_, item) in made.items()}
    trained = {"hide": _TrainedHide(system), "analyze": _TrainedAnalyze(system), "recover": _TrainedRecover(system)}
    for secret, cover, _ in probes:
        photos = {"secret": secret[None], "cover": cover[None]}
        for path, (_, item) in made.items():
            feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
            expected = reference(trained[item.graph.verb], feed)
            for name, run in runs[path].items():
                _compare(item, item.parity[name], expected, run(feed), config.mask_threshold)
            if item.graph.verb == "hide":
                photos["stego"] = photos["sent"] = expected[0]
                (photos["reply"],) = reference(trained["analyze"], {"stego": expected[0]})
    for path, (_, item) in made.items():
        feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
        for name, run in runs[path].items():
            item.parity[name].require(f"{path} in {name}", _identical_share(system, item))
            item.latency_ms[name] = _latency_ms(run, feed)
    return [item for _, item in made.values()]


def _identical_share(system: System, item: Exported) -> float:
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


class _TrainedHide(nn.Module):
    """H as it was trained, between uint8 photos."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.hider = system.hider

    def forward(self, secret: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
        return pixels_out(self.hider.hide(pixels_in(secret), pixels_in(cover)))


class _TrainedAnalyze(nn.Module):
    """M as it was trained."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.analyzer = system.analyzer

    def forward(self, stego: torch.Tensor) -> torch.Tensor:
        return pixels_out(self.analyzer(pixels_in(stego)))


class _TrainedRecover(nn.Module):
    """R and the head as they were trained, from uint8 photos, one photo at a time."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system = system

    def forward(self, reply: torch.Tensor, sent: torch.Tensor) -> tuple[torch.Tensor, ...]:
        recovered, reference = (self.system.hider.recover(pixels_in(photo)) for photo in (reply, sent))
        probability = self.system.head.probabilities(recovered, reference)
        if self.system.analyzer.seal is None:
            return (probability,)
        return probability, agreement(recovered, reference, self.system.analyzer.signs)


def _latency_ms(run: Run, feed: Feed) -> float:
    """Median of a few runs at batch 1, after the runs of the comparison."""
    times = []
    for _ in range(MEASURED_RUNS):
        start = time.perf_counter()
        run(feed)
        times.append((time.perf_counter() - start) * 1e3)
    return round(statistics.median(times), 2)


def _photo(name: str, side: int, dynamic: bool) -> manifests.Tensor:  # noqa: FBT001
    return manifests.Tensor(
        name=name, type="image", format="magnitude", num_channels=3, spatial_shape=[side, side], dtype="uint8",
        value_range=(0.0, 255.0), channel_def={"0": "red", "1": "green", "2": "blue"},
        shape=["batch" if dynamic else 1, side, side, 3], layout="NHWC", colour_order="RGB",
    )  # fmt: skip


def _results(config: ModelConfig, dynamic: bool) -> list[manifests.Tensor]:  # noqa: FBT001
    side, batch = config.image_size_px, "batch" if dynamic else 1
    if config.task == "segmentation":
        probability = manifests.Tensor(
            name="probability", type="image", format="magnitude", num_channels=1, spatial_shape=[side, side],
            dtype="float32", value_range=(0.0, 1.0), channel_def={"0": f"probability of {config.classes[-1]}"},
            shape=[batch, side, side], layout="NHW", colour_order="",
        )  # fmt: skip
    else:
        classes = {str(index): f"probability of {name}" for index, name in enumerate(config.classes)}
        probability = manifests.Tensor(
            name="probability", type="probabilities", format="classes", num_channels=len(classes), spatial_shape=[],
            dtype="float32", value_range=(0.0, 1.0), channel_def=classes,
            shape=[batch, len(classes)], layout="NC", colour_order="",
        )  # fmt: skip
    seal = manifests.Tensor(
        name="seal", type="image", format="magnitude", num_channels=1, spatial_shape=[TILES, TILES],
        dtype="float32", value_range=(-2.0, 2.0),
        channel_def={"0": "how strongly each tile carries the seal of this pair: 1 as trained, 0 not at all"},
        shape=[batch, TILES, TILES], layout="NHW", colour_order="",
    )  # fmt: skip
    return [probability] if config.seal is None else [probability, seal]


def _manifest(
    config: ModelConfig,
    role: Role,
    pair_id: str,
    items: list[Exported],
    hashes: dict[str, str],
    *,
    public_key: bool,
) -> Manifest:
    return Manifest(
        schema_version=manifests.SCHEMA_VERSION,
        name=config.name,
        role=role,
        pair_id=pair_id,
        task=config.task,  # type: ignore[arg-type]
        classes=list(config.classes),
        image_size_px=config.image_size_px,
        mask_threshold=manifest_threshold(config),
        reply_limits=ReplyLimits(
            min_psnr_db=config.reply_min_psnr_db,
            min_changed_share=config.reply_min_changed_share,
            min_seal_share=config.reply_min_seal_share,
        )
        if role == "client"
        else None,
        graphs=[item.graph for item in items],
        weights_sha256=hashes,
        exporter={"hidemia": metadata.version("hidemia"), "torch": torch.__version__.split("+")[0]},
        licence=config.licence,
        intended_use=config.intended_use,
        public_key=public_key,
    )


def _write_bundle(
    folder: Path,
    manifest: Manifest,
    items: list[Exported],
    trips: Mapping[Precision, Mapping[str, Figures]],
    images: int,
    key: str | None,
) -> None:
    """The manifest comes last: without it the folder is no bundle."""
    # The umask must not make a private hider readable by all.
    folder.mkdir(mode=0o700 if manifest.role == "client" and not manifest.public_key else 0o777)
    for item in items:
        write(folder / item.graph.path, item.data)
    measured: dict[str, Any] = {
        "key": key,
        "environment": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            **{name: import_module(name).__version__ for name in BACKENDS},
            "threads": usable_threads(),
        },
        "graphs": {
            item.graph.path: {
                name: {"parity": vars(item.parity[name]), "latency_ms_batch_1": item.latency_ms[name]}
                for name in BACKENDS
            }
            for item in items
        },
        "trips": {
            "images": images,
            **{name: {backend: vars(found) for backend, found in own.items()} for name, own in trips.items()},
        },
    }
    write(folder / MEASURED, (json.dumps(measured, indent=2, sort_keys=True) + "\n").encode())
    write(folder / manifests.FILE_NAME, manifests.dump(manifest))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
