"""A trained model -> client and server bundles, checked against PyTorch and written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from hidemia.export.graphs import Analyze, Hide, Recover, pixels_in, pixels_out
from hidemia.export.hider import TILED_SIDE, HiderForm
from hidemia.export.parity import Parity, both, session
from hidemia.export.probes import Pairs
from hidemia.export.writing import IR_VERSION, OPSET, to_onnx
from hidemia.runtime import manifest as manifests
from hidemia.runtime.manifest import Graph, Manifest, ReplyLimits, Role
from hidemia.training.recipes import ModelConfig
from hidemia.training.seal import TILES, agreement
from hidemia.training.system import System
from hidemia.training.weights import load_weights

MEASURED_RUNS = 5

# Of the graphs that serve, the first of the manifest is taken. In ONNX Runtime on the CPU `tiled` was faster than
# `direct`, in OpenVINO slower (docs/hider.md), so `tiled` is offered to the first alone. `direct` serves all.
HIDER_FORMS: tuple[HiderForm, ...] = ("tiled", "direct")


@dataclass
class Exported:
    """One graph: what the manifest says of it, its bytes, and what was measured."""

    graph: Graph
    data: bytes
    parity: Parity = field(default_factory=Parity)
    latency_ms: float = 0.0


def export_model(weights: Path, out: Path, probes: Pairs, *, public_key: bool) -> list[Exported]:
    """Write ``out/client`` and ``out/server`` from a folder of weights.

    Args:
        weights: made by `hidemia train`.
        out: replaced as a whole, once everything is proven.
        probes: pairs of secret and cover that every graph is checked with.
        public_key: whether the weights are published, so that anyone can recover.

    Returns:
        What was exported, with its parity and latency.

    Raises:
        TrainingError: the weights are missing or do not fit their configuration.
        ExportError: a graph breaks a rule, or differs from PyTorch by more than is allowed.
    """
    system, config = load_weights(weights)
    exported = prove(system, config, traced(system, config), probes)
    hashes = {part: _sha256((weights / f"{part}.safetensors").read_bytes()) for part in ("hider", "analyzer")}
    pair_id = _sha256("".join(hashes.values()).encode())
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        halves: tuple[tuple[Role, str], ...] = (("client", "hider"), ("server", "analyzer"))
        for role, part in halves:
            mine = [item for item in exported if item.graph.verb in manifests.VERBS[role]]
            manifest = _manifest(config, role, pair_id, mine, {part: hashes[part]}, public_key=public_key)
            _write_bundle(Path(folder) / role, manifest, mine)
        _replace(Path(folder), out)
    return exported


def traced(system: System, config: ModelConfig) -> dict[str, tuple[nn.Module, Exported]]:
    """Every graph by file name, traced and linted, with the module it came from."""
    side = config.image_size_px
    photo = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    forms = [form for form in HIDER_FORMS if form == "direct" or side % TILED_SIDE == 0]
    results = ["probability"] if config.analyzer.seal is None else ["probability", "seal"]
    plans: list[tuple[str, nn.Module, list[str], list[str], str | None]] = [
        *(("hide", Hide(system, form, side), ["secret", "cover"], ["stego"], form) for form in forms),
        *(("recover", Recover(system, form, side), ["reply", "sent"], results, form) for form in forms),
        ("analyze", Analyze(system, "one", side), ["stego"], ["reply"], "one"),
        ("analyze", Analyze(system, "any", side), ["stego"], ["reply"], "any"),
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
            form=form if verb == "analyze" else None,  # type: ignore[arg-type]
            batch=(1, None) if dynamic else (1, 1),
            backends=["onnxruntime"],
            inputs=[_photo(name, side, dynamic) for name in names],
            outputs=_results(config, dynamic) if verb == "recover" else [_photo(outputs[0], side, dynamic)],
        )
        made[path] = (module, Exported(graph, data))
    return made


def prove(
    system: System, config: ModelConfig, made: dict[str, tuple[nn.Module, Exported]], probes: Pairs
) -> list[Exported]:
    """Compare each graph with PyTorch on every probe, along the trip a photo makes; time it; enforce the budget.

    The reference is the network as it was trained, not its deployed form.
    """
    engines = {path: session(item.data) for path, (_, item) in made.items()}
    trained = {"hide": _TrainedHide(system), "analyze": _TrainedAnalyze(system), "recover": _TrainedRecover(system)}
    for secret, cover in probes:
        photos = {"secret": secret[None], "cover": cover[None]}
        for path, (_, item) in made.items():
            feed = {tensor.name: photos[tensor.name] for tensor in item.graph.inputs}
            expected, got = both(trained[item.graph.verb], engines[path], feed)
            if item.graph.verb == "recover":
                item.parity.add_result(expected[0][0], got[0][0], config.mask_threshold)
                for reference_seal, seal in zip(expected[1:], got[1:], strict=True):
                    item.parity.add_seal(reference_seal[0], seal[0])
            else:
                item.parity.add_photo(expected[0], got[0])
            if item.graph.verb == "hide":
                photos["stego"] = photos["sent"] = expected[0]
                with torch.no_grad():
                    photos["reply"] = trained["analyze"](torch.from_numpy(expected[0])).numpy()
    for path, (_, item) in made.items():
        item.parity.require(path)
        item.latency_ms = _latency_ms(engines[path], {t.name: photos[t.name] for t in item.graph.inputs})
    return [item for _, item in made.values()]


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
        if self.system.analyzer.config.seal is None:
            return (probability,)
        return probability, agreement(recovered, reference, self.system.analyzer.signs)


def _latency_ms(engine: onnxruntime.InferenceSession, feed: dict[str, NDArray[np.uint8]]) -> float:
    """Median of a few runs at batch 1, after the runs of the comparison."""
    times = []
    for _ in range(MEASURED_RUNS):
        start = time.perf_counter()
        engine.run(None, feed)
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
    return [probability] if config.analyzer.seal is None else [probability, seal]


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
        mask_threshold=config.mask_threshold if config.task == "segmentation" else None,
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


def _write_bundle(folder: Path, manifest: Manifest, items: list[Exported]) -> None:
    # The umask must not make a private hider readable by all.
    folder.mkdir(mode=0o700 if manifest.role == "client" and not manifest.public_key else 0o777)
    for item in items:
        (folder / item.graph.path).write_bytes(item.data)
    (folder / manifests.FILE_NAME).write_bytes(manifests.dump(manifest))
    measured: dict[str, Any] = {
        "environment": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
            "threads": torch.get_num_threads(),
        },
        "graphs": {
            item.graph.path: {"parity": vars(item.parity), "latency_ms_batch_1": item.latency_ms} for item in items
        },
    }
    (folder / "measured.json").write_text(json.dumps(measured, indent=2, sort_keys=True) + "\n")


def _replace(made: Path, out: Path) -> None:
    """Put the new folders in place; a cut in between leaves a bundle that is whole, or none."""
    out.mkdir(exist_ok=True)
    for role in ("client", "server"):
        target, old = out / role, out / f".{role}.old"
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        (made / role).rename(target)
        shutil.rmtree(old, ignore_errors=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
