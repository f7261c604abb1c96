"""A tiny model as real ONNX graphs in real bundles: hide, analyze and recover that can be checked by hand.

hide     stego = cover with its lowest bit replaced by the secret's highest
analyze  reply = stego with its second lowest bit replaced by its lowest
recover  probability = share of channels whose second lowest bit is set in the reply

Under a veil the last two are of blue alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import uvicorn
from onnx import TensorProto, helper
from tests.process import Process

from hidemia.runtime import Client, Server
from hidemia.runtime import manifest as manifests
from hidemia.runtime.app import PhotoService
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.manifest import Graph, Manifest, ReplyLimits, Tensor
from hidemia.runtime.receipt import Plan, Receipt
from hidemia.runtime.serving import listen

SIZE = 64
PAIR_ID = "0123456789abcdef" * 4


@dataclass(frozen=True)
class Model:
    client: Path
    server: Path


def _constants(**values: int) -> list[onnx.TensorProto]:
    return [helper.make_tensor(name, TensorProto.INT32, [], [value]) for name, value in values.items()]


def _wide(*names: str) -> list[onnx.NodeProto]:
    """Casts of uint8 images to int32, in which every ONNX Runtime can divide: x becomes x32."""
    return [helper.make_node("Cast", [name], [f"{name}32"], to=TensorProto.INT32) for name in names]


def _narrow(name: str) -> onnx.NodeProto:
    """The cast of x32 to the image x."""
    return helper.make_node("Cast", [f"{name}32"], [name], to=TensorProto.UINT8)


def _image(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", SIZE, SIZE, 3])


def _save(name: str, nodes, inputs, outputs, constants) -> bytes:
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def hide_graph() -> bytes:
    """stego = cover / 2 * 2 + secret / 128."""
    nodes = [
        *_wide("secret", "cover"),
        helper.make_node("Div", ["cover32", "two"], ["half"]),
        helper.make_node("Mul", ["half", "two"], ["even"]),
        helper.make_node("Div", ["secret32", "high"], ["bit"]),
        helper.make_node("Add", ["even", "bit"], ["stego32"]),
        _narrow("stego"),
    ]
    return _save("hide", nodes, [_image("secret"), _image("cover")], [_image("stego")], _constants(two=2, high=128))


def analyze_graph(blue: bool = False) -> bytes:
    """reply = stego / 4 * 4 + 3 * (stego % 2), in all colours or in blue alone."""
    nodes = [
        *_wide("stego"),
        helper.make_node("Div", ["stego32", "four"], ["quarter"]),
        helper.make_node("Mul", ["quarter", "four"], ["high"]),
        helper.make_node("Mod", ["stego32", "two"], ["bit"]),
        helper.make_node("Mul", ["bit", "three"], ["low"]),
        helper.make_node("Add", ["high", "low"], ["changed"]),
        helper.make_node("Where", ["written", "changed", "stego32"], ["reply32"]),
        _narrow("reply"),
    ]
    written = helper.make_tensor("written", TensorProto.BOOL, [3], [not blue, not blue, True])
    constants = [*_constants(two=2, three=3, four=4), written]
    return _save("analyze", nodes, [_image("stego")], [_image("reply")], constants)


def recover_graph(classes: int | None = None, blue: bool = False) -> bytes:
    """probability = mean of the reply's second lowest bit, over channels, or blue alone, or over the image.

    `sent` counts for nothing but must be there: it is multiplied by 0.
    """
    nodes = [
        *_wide("reply", "sent"),
        helper.make_node("Div", ["reply32", "two"], ["half"]),
        helper.make_node("Mod", ["half", "two"], ["bit"]),
        helper.make_node("Mul", ["sent32", "zero"], ["nothing"]),
        helper.make_node("Add", ["bit", "nothing"], ["value"]),
        helper.make_node("Mul", ["value", "weights"], ["weighed"]),
        helper.make_node("Cast", ["weighed"], ["float"], to=TensorProto.FLOAT),
    ]
    weights = helper.make_tensor("weights", TensorProto.INT32, [3], [0, 0, 3] if blue else [1, 1, 1])
    if classes is None:
        nodes.append(helper.make_node("ReduceMean", ["float"], ["probability"], axes=[3], keepdims=0))
        shape: list[int | str] = ["batch", SIZE, SIZE]
        constants = [*_constants(two=2, zero=0), weights]
    else:
        nodes += [
            helper.make_node("ReduceMean", ["float"], ["share"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Unsqueeze", ["share", "last"], ["column"]),
            helper.make_node("Sub", ["one", "column"], ["rest"]),
            helper.make_node("Concat", ["rest", "column"], ["probability"], axis=1),
        ]
        shape = ["batch", classes]
        last = helper.make_tensor("last", TensorProto.INT64, [1], [1])
        one = helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])
        constants = [*_constants(two=2, zero=0), weights, last, one]
    output = helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape)
    return _save("recover", nodes, [_image("reply"), _image("sent")], [output], constants)


def tensor(name: str, dtype: str = "uint8", shape: list[int | str] | None = None) -> Tensor:
    """An image; or, in float32, probabilities of pixels or of classes."""
    shape = shape or ["batch", SIZE, SIZE, 3]
    layout = {4: "NHWC", 3: "NHW", 2: "NC"}[len(shape)]
    channels = shape[-1] if "C" in layout else 1
    return Tensor(
        name=name,
        type="image" if "H" in layout else "probabilities",
        format="magnitude" if "H" in layout else "classes",
        num_channels=channels,
        spatial_shape=shape[1:3] if "H" in layout else [],
        dtype=dtype,
        value_range=(0.0, 255.0) if dtype == "uint8" else (0.0, 1.0),
        channel_def={str(channel): name for channel in range(channels)},
        shape=shape,
        layout=layout,
        colour_order="RGB" if dtype == "uint8" else "",
    )


def graph_entry(verb, data: bytes, inputs, outputs, **changes) -> Graph:
    values = {
        "verb": verb,
        "path": f"{verb}.fp32.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "precision": "fp32",
        "precision_achieved": "fp32",
        "fp32_nodes": [],
        "opset": 17,
        "ir_version": 8,
        "form": "any" if verb == "analyze" else None,
        "batch": (1, None),
        "backends": ["onnxruntime"],
        "inputs": inputs,
        "outputs": outputs,
    }
    return Graph(**{**values, **changes})


def make_manifest(role, graphs: list[Graph], **changes) -> Manifest:
    values = {
        "schema_version": manifests.SCHEMA_VERSION,
        "name": "tiny",
        "role": role,
        "pair_id": PAIR_ID,
        "task": "segmentation",
        "classes": ["lesion"],
        "image_size_px": SIZE,
        "mask_threshold": 0.5,
        "reply_limits": ReplyLimits(min_psnr_db=30.0, min_changed_share=0.01) if role == "client" else None,
        "graphs": graphs,
        "weights_sha256": {},
        "exporter": {"hidemia": "0"},
        "licence": "Apache-2.0",
        "intended_use": "tests",
        "public_key": False,
    }
    return Manifest(**{**values, **changes})


def make_receipt(plan: bytes, onnx: bytes, *, of_plan=None, **changes) -> Receipt:
    """A receipt of one plan, built with TensorRT 10.3 on an RTX 4090."""
    about_plan = {
        "path": "analyze.fp16.plan",
        "sha256": hashlib.sha256(plan).hexdigest(),
        "size_bytes": len(plan),
        "verb": "analyze",
        "onnx_path": "analyze.fp32.onnx",
        "onnx_sha256": hashlib.sha256(onnx).hexdigest(),
        "precision": "fp16",
        "precision_achieved": {"fp16": 40, "fp32": 2},
        "batch": (1, 1, 8),
        "workspace_mib": 1024,
    }
    values = {
        "os": "Linux 6.8.0",
        "architecture": "x86_64",
        "tensorrt": "10.3.0",
        "cuda": "12.5",
        "driver": "555.42.06",
        "gpu": "NVIDIA GeForce RTX 4090",
        "compute_capability": "8.9",
        "l4t": None,
        "timing_cache_sha256": None,
        "hidemia": "0.1.0",
        "plans": [Plan(**(about_plan | (of_plan or {})))],
    }
    return Receipt(**(values | changes))


def make_model(folder: Path, *, classes: int | None = None, **changes) -> Model:
    """Write a client and a server bundle under `folder`; `changes` go into both manifests."""
    if classes is not None:
        changes = {
            "task": "classification",
            "classes": ["benign", "malignant"],
            "mask_threshold": None,
        } | changes
    blue = "veil" in changes
    hide, analyze, recover = hide_graph(), analyze_graph(blue), recover_graph(classes, blue)
    shape: list[int | str] = ["batch", SIZE, SIZE] if classes is None else ["batch", classes]
    probability = tensor("probability", "float32", shape)
    entries = {
        "client": [
            (graph_entry("hide", hide, [tensor("secret"), tensor("cover")], [tensor("stego")]), hide),
            (graph_entry("recover", recover, [tensor("reply"), tensor("sent")], [probability]), recover),
        ],
        "server": [(graph_entry("analyze", analyze, [tensor("stego")], [tensor("reply")]), analyze)],
    }
    for role, files in entries.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / role).mkdir(mode=0o700)
        for graph, data in files:
            (folder / role / graph.path).write_bytes(data)
        manifest = make_manifest(role, [graph for graph, _ in files], **changes)
        (folder / role / manifests.FILE_NAME).write_bytes(manifests.dump(manifest))
    return Model(folder / "client", folder / "server")


def seal_model(model: Model, folder: Path, min_seal_share: float, max_seal_strength: float | None = None) -> Path:
    """Write a client bundle whose recover also gives a seal: the mean probability of each 8x8 px tile."""
    manifest = manifests.load((model.client / manifests.FILE_NAME).read_bytes())
    hide, recover = manifest.graphs
    graph = onnx.load_from_string((model.client / recover.path).read_bytes())
    graph.graph.initializer.append(helper.make_tensor("channel", TensorProto.INT64, [1], [1]))
    graph.graph.node.extend(
        [
            helper.make_node("Unsqueeze", ["probability", "channel"], ["plane"]),
            helper.make_node("AveragePool", ["plane"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
            helper.make_node("Squeeze", ["pooled", "channel"], ["seal"]),
        ]
    )
    graph.graph.output.append(helper.make_tensor_value_info("seal", TensorProto.FLOAT, ["batch", 8, 8]))
    data = graph.SerializeToString()
    outputs = [*recover.outputs, tensor("seal", "float32", ["batch", 8, 8])]
    recover = graph_entry("recover", data, recover.inputs, outputs)
    limits = ReplyLimits(
        min_psnr_db=30.0, min_changed_share=0.01, min_seal_share=min_seal_share, max_seal_strength=max_seal_strength
    )
    (folder / hide.path).write_bytes((model.client / hide.path).read_bytes())
    (folder / recover.path).write_bytes(data)
    changed = make_manifest("client", [hide, recover], reply_limits=limits)
    (folder / manifests.FILE_NAME).write_bytes(manifests.dump(changed))
    return folder


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """The helpers of this file, which tests cannot import."""
    return SimpleNamespace(
        size=SIZE,
        make_model=make_model,
        make_manifest=make_manifest,
        make_receipt=make_receipt,
        analyze_graph=analyze_graph,
        hide_graph=hide_graph,
        graph_entry=graph_entry,
        seal=seal_model,
        tensor=tensor,
        photo=photo_like,
        secret=secret_like,
        png=make_png,
        running=running,
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Model:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def server(model) -> Iterator[Server]:
    with Server.load(model.server, engine=EngineSettings(threads=1)) as server:
        yield server


@pytest.fixture(scope="session")
def client(model) -> Iterator[Client]:
    with Client.load(model.client, engine=EngineSettings(threads=1)) as client:
        yield client


@pytest.fixture
def service_url(server) -> Iterator[str]:
    """A photo service on loopback, over real HTTP."""
    with running(PhotoService(server).photos) as url:
        yield url


@contextlib.contextmanager
def running(app) -> Iterator[str]:
    """Run an ASGI app in uvicorn on a free port of loopback."""
    uvicorn_server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", log_config=None, timeout_graceful_shutdown=10)
    )
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=uvicorn_server.run, args=([listening],))
        thread.start()
        while not uvicorn_server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            uvicorn_server.should_exit = True
            thread.join()


@contextlib.contextmanager
def starting() -> Iterator[Callable[..., Process]]:
    """Start real `hidemia serve` processes, and see that none is left."""
    started: list[Process] = []

    def start(*arguments: object, **environment: str) -> Process:
        started.append(Process("--threads", "1", *(str(argument) for argument in arguments), **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    with starting() as start:
        yield start


@pytest.fixture(scope="module")
def start_for_module() -> Iterator[Callable[..., Process]]:
    with starting() as start:
        yield start


@pytest.fixture(autouse=True)
def own_ledger(tmp_path, monkeypatch) -> None:
    """No test writes into the user's ledger."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("HIDEMIA_TOKEN", raising=False)


@pytest.fixture
def ordinary_account():
    """Be nobody in particular for a while, whom modes stop; root writes everywhere."""

    @contextlib.contextmanager
    def ordinary_account() -> Iterator[None]:
        own = os.geteuid()
        if own == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(own)

    return ordinary_account


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def photo_like(rng: np.random.Generator, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """Smooth noise between 40 and 215: neither flat nor clipped."""
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.uniform(0, 6.28, (3, 2))
    waves = [np.sin(x / 9 + phase[c, 0]) + np.sin(y / 7 + phase[c, 1]) for c in range(3)]
    image = 127.5 + 35 * np.stack(waves, axis=-1) + rng.normal(0, 4, (height, width, 3))
    return np.clip(image, 40, 215).astype(np.uint8)


def secret_like(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A bright disc on a dark ground: the tiny model's mask is the disc."""
    y, x = np.mgrid[0:height, 0:width]
    disc = ((y - height / 2) / (height / 4)) ** 2 + ((x - width / 2) / (width / 4)) ** 2 <= 1
    return np.repeat(np.where(disc, 220, 30).astype(np.uint8)[..., None], 3, axis=2)


def make_png(
    width: int,
    height: int,
    *,
    depth: int = 8,
    colour: int = 2,
    raw: bytes | None = None,
    extra=(),
    interlace: int = 0,
) -> bytes:
    """A PNG written by hand: zeros unless `raw` is given; `extra` chunks go before IDAT."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if raw is None:
        raw = bytes(height * (1 + (width * depth * channels + 7) // 8))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]:
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)
