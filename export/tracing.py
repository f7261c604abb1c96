"""Every graph of a model in FP32, as a file and as an entry of a manifest; each network in the forms it has."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import nn

from hidemia.export.deploy import Form
from hidemia.export.graphs import Analyze, Hide, Recover
from hidemia.export.hider import TILED_SIDE, HiderForm
from hidemia.export.parity import BACKENDS, Parity, checked_in
from hidemia.export.writing import IR_VERSION, OPSET, to_onnx
from hidemia.runtime import manifest as manifests
from hidemia.runtime.manifest import Graph
from hidemia.training.analyzer import Analyzer
from hidemia.training.invertible import InvertibleHider
from hidemia.training.model import ModelConfig
from hidemia.training.seal import TILES
from hidemia.training.system import System

# Of the graphs that serve, the first of the manifest is taken. In ONNX Runtime on the CPU `tiled` was faster than
# `direct`; in OpenVINO it was no slower for hide and slower for recover (docs/hider.md), so `tiled` is offered to the
# first alone. `direct` serves all.
HIDER_FORMS: tuple[HiderForm, ...] = ("tiled", "direct")
ANALYZER_FORMS: tuple[Form, ...] = ("one", "any")


@dataclass
class Exported:
    """One graph: what the manifest says of it, its bytes, and what was measured in each engine."""

    graph: Graph
    data: bytes
    parity: dict[str, Parity] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parity = {name: Parity() for name in checked_in(self.graph)}


def traced(system: System, config: ModelConfig) -> dict[str, Exported]:
    """Every graph by file name, traced and linted."""
    side = config.image_size_px
    photo = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    invertible = isinstance(system.hider, InvertibleHider)
    mixes = isinstance(system.analyzer, Analyzer) and system.analyzer.config.k > 0
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
            sha256=hashlib.sha256(data).hexdigest(),
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
        made[path] = Exported(graph, data)
    return made


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
