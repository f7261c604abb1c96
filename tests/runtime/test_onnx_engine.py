from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import pytest

from hidemia.runtime import BundleError, Client, EngineError, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.onnx_engine import OnnxEngine


@pytest.fixture
def bundle(model) -> Bundle:
    return Bundle.open(model.server, "server")


def bundle_of(tiny, folder, data: bytes, **changes) -> Bundle:
    (folder / "analyze.fp32.onnx").write_bytes(data)
    inputs = changes.pop("inputs", [tiny.tensor("stego")])
    graph = tiny.graph_entry("analyze", data, inputs, [tiny.tensor("reply")], **changes)
    return Bundle(folder, tiny.make_manifest("server", [graph]))


def test_run(bundle):
    photos = np.arange(64 * 64 * 3 * 2, dtype=np.uint32).reshape(2, 64, 64, 3).astype(np.uint8)
    with OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(threads=1)) as engine:
        reply = engine.run({"stego": photos})["reply"]
    assert np.array_equal(reply, photos // 4 * 4 + 3 * (photos % 2))


def test_closed(bundle):
    engine = OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(threads=1))
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="expected an open engine, got a closed one"):
        engine.run({"stego": np.zeros((1, 64, 64, 3), np.uint8)})


def test_a_failing_run_is_one_error(bundle, capfd):
    with (
        OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(threads=1)) as engine,
        pytest.raises(EngineError, match=r"analyze\.fp32\.onnx: onnxruntime failed"),
    ):
        engine.run({"stego": np.zeros((1, 3, 3, 3), np.uint8)})
    assert capfd.readouterr() == ("", "")


def test_not_a_graph(tiny, tmp_path, capfd):
    bundle = bundle_of(tiny, tmp_path, b"not onnx at all")
    with pytest.raises(EngineError, match=r"analyze\.fp32\.onnx: onnxruntime cannot load it"):
        OnnxEngine(bundle, bundle.manifest.graphs[0], EngineSettings())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "inputs",
    [
        [("photo", {})],
        [("stego", {"dtype": "float32"})],
        [("stego", {"shape": ["batch", 64, 64]})],
        [("stego", {"shape": ["batch", 224, 224, 3]})],
        [("stego", {}), ("other", {})],
    ],
)
def test_a_manifest_of_another_graph(tiny, tmp_path, inputs):
    tensors = [tiny.tensor(name, **changes) for name, changes in inputs]
    bundle = bundle_of(tiny, tmp_path, tiny.analyze_graph(), inputs=tensors)
    with pytest.raises(BundleError, match=r"analyze\.fp32\.onnx inputs: expected"):
        OnnxEngine(bundle, bundle.manifest.graphs[0], EngineSettings())


def test_no_onnxruntime(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError) as caught:
        OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings())
    assert str(caught.value) == "engine: expected onnxruntime, got no such package; pip install 'hidemia[cpu]'"


def test_a_missing_provider_is_an_error(bundle):
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got an onnxruntime with"):
        OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(device="cuda"))


def test_a_silent_fallback_is_an_error(bundle, monkeypatch):
    """onnxruntime lists CUDA although its libraries are missing, and then runs on the CPU."""
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, options, providers: real(data, options, ["CPUExecutionProvider"]),
    )
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got CPUExecutionProvider"):
        OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(device="cuda"))


def test_a_provider_of_a_whole_client(model):
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got an onnxruntime with"):
        Client.load(model.client, engine=EngineSettings(device="cuda"))
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got an onnxruntime with"):
        Server.load(model.server, engine=EngineSettings(device="cuda"))
