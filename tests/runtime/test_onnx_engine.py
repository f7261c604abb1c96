from __future__ import annotations

import sys
import time

import numpy as np
import onnxruntime
import pytest

from hidemia.runtime import BundleError, Client, EngineError, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.onnx_engine import OnnxEngine, provider_options, session_options


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
        lambda data, options, providers, provider_options: real(data, options, ["CPUExecutionProvider"]),
    )
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got CPUExecutionProvider"):
        OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(device="cuda"))


def test_a_provider_of_a_whole_client(model):
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got an onnxruntime with"):
        Client.load(model.client, engine=EngineSettings(device="cuda"))
    with pytest.raises(EngineError, match="expected CUDAExecutionProvider, got an onnxruntime with"):
        Server.load(model.server, engine=EngineSettings(device="cuda"))


def entry(tiny, precision):
    return tiny.graph_entry("analyze", b"x", [], [], precision=precision)


def test_what_providers_are_told(tiny):
    fp32, fp16 = entry(tiny, "fp32"), entry(tiny, "fp16")
    assert provider_options(fp32, EngineSettings()) == {}
    assert provider_options(fp32, EngineSettings(device="cuda", gpu=1, memory_mib=512)) == {
        "device_id": "1",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "536870912",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert provider_options(fp32, EngineSettings(device="tensorrt", memory_mib=1)) == {
        "device_id": "0",
        "trt_fp16_enable": "0",
        "trt_int8_enable": "0",
        "trt_max_workspace_size": "1048576",
    }
    assert provider_options(fp16, EngineSettings(device="tensorrt"))["trt_fp16_enable"] == "1"
    int8 = entry(tiny, "int8")
    assert provider_options(int8, EngineSettings(device="tensorrt"))["trt_int8_enable"] == "1"


def test_a_session_is_a_guest_on_its_device(bundle):
    options = session_options(onnxruntime, EngineSettings(threads=3))
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.use_deterministic_compute
    assert not options.enable_mem_pattern
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_it_idles_when_nothing_runs(bundle):
    """Threads that spin would take processor time after a run."""
    with OnnxEngine(bundle, bundle.graph("analyze"), EngineSettings(threads=4)) as engine:
        engine.run({"stego": np.zeros((8, 64, 64, 3), np.uint8)})
        start = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - start < 0.02
