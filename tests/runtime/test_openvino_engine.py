from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hidemia.runtime import BundleError, EngineError, defaults, openvino_engine
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.demo.landscape import photo as landscape
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.engine import EngineSettings, open_engine
from hidemia.runtime.openvino_engine import OpenVinoEngine, compile_graph

ONE = EngineSettings(backend="openvino", threads=1)


@pytest.fixture
def bundle(tiny, tmp_path) -> Bundle:
    return bundle_of(tiny, tmp_path, tiny.analyze_graph())


def bundle_of(tiny, folder, data: bytes, **changes) -> Bundle:
    (folder / "analyze.fp32.onnx").write_bytes(data)
    inputs = changes.pop("inputs", [tiny.tensor("stego")])
    graph = tiny.graph_entry("analyze", data, inputs, [tiny.tensor("reply")], backends=["openvino"], **changes)
    return Bundle(folder, tiny.make_manifest("server", [graph]))


def photos(count: int) -> np.ndarray:
    return np.arange(64 * 64 * 3 * count, dtype=np.uint32).reshape(count, 64, 64, 3).astype(np.uint8)


def reply_to(stego: np.ndarray) -> np.ndarray:
    return stego // 4 * 4 + 3 * (stego % 2)


def test_run_with_any_batch(bundle):
    with OpenVinoEngine(bundle, bundle.graph("analyze", backend="openvino"), ONE) as engine:
        for count in (1, 3, 2):
            assert np.array_equal(engine.run({"stego": photos(count)})["reply"], reply_to(photos(count)))


def test_what_it_returns_is_not_overwritten_by_the_next_run(bundle):
    with OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE) as engine:
        first = engine.run({"stego": photos(1)})["reply"]
        engine.run({"stego": photos(1)[:, ::-1].copy()})
    assert np.array_equal(first, reply_to(photos(1)))


def test_threads_take_turns(bundle):
    rng = np.random.default_rng(0)
    stegos = [rng.integers(0, 256, (1, 64, 64, 3), np.uint8) for _ in range(40)]
    with OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE) as engine, ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda stego: engine.run({"stego": stego})["reply"], stegos))
    assert all(np.array_equal(reply, reply_to(stego)) for stego, reply in zip(stegos, replies, strict=True))


def test_closed(bundle):
    engine = OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="expected an open engine, got a closed one"):
        engine.run({"stego": photos(1)})


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({}, "got ;"),
        ({"stego": np.zeros((1, 3, 3, 3), np.uint8)}, r"got stego uint8 \[1, 3, 3, 3\];"),
        ({"stego": np.zeros((1, 64, 64, 3), np.float32)}, r"got stego float32 \[1, 64, 64, 3\];"),
        ({"stego": np.zeros((64, 64, 3), np.uint8)}, r"got stego uint8 \[64, 64, 3\];"),
        ({"stego": photos(1), "other": photos(1)}, r"got stego .*, other "),
    ],
)
def test_inputs_that_openvino_would_take_in_silence(bundle, inputs, got):
    with OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE) as engine:
        engine.run({"stego": photos(1)})  # what it would use again
        with pytest.raises(EngineError, match=rf"analyze\.fp32\.onnx: expected stego uint8 .* {got}"):
            engine.run(inputs)


def test_not_a_graph(tiny, tmp_path, capfd):
    bundle = bundle_of(tiny, tmp_path, b"not onnx at all")
    with pytest.raises(EngineError, match=r"^analyze\.fp32\.onnx: openvino cannot load it: [^\n]+; export the bundle"):
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE)
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_never_reaches_it(bundle):
    file = bundle.path / "analyze.fp32.onnx"
    data = bytearray(file.read_bytes())
    data[100] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BundleError, match="expected SHA-256"):
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE)


@pytest.mark.parametrize("inputs", [[("photo", {})], [("stego", {"dtype": "float32"})], [("stego", {"shape": [1, 9]})]])
def test_a_manifest_of_another_graph(tiny, tmp_path, inputs):
    tensors = [tiny.tensor(name, **changes) for name, changes in inputs]
    bundle = bundle_of(tiny, tmp_path, tiny.analyze_graph(), inputs=tensors)
    with pytest.raises(BundleError, match=r"analyze\.fp32\.onnx inputs: expected"):
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE)


def test_no_openvino(bundle, monkeypatch):
    openvino_engine._core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError) as caught:
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], ONE)
    assert str(caught.value) == "engine: expected openvino, got no such package; pip install 'hidemia[openvino]'"


def test_a_device_that_is_not_there(bundle):
    if any(name.startswith("GPU") for name in openvino_engine._core().available_devices):
        pytest.skip("this machine has one")
    with pytest.raises(EngineError, match=r"expected OpenVINO's device GPU, got a machine with CPU; install"):
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], EngineSettings(backend="openvino", device="gpu"))


def test_another_device_than_the_one_asked_for(bundle, monkeypatch):
    """OpenVINO says that it runs the graph elsewhere: no result may come from there."""

    core = openvino_engine._core()

    class Elsewhere:
        available_devices = ("CPU", "GPU.0")
        read_model = staticmethod(core.read_model)

        def compile_model(self, model, device, config):
            return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino_engine, "_core", Elsewhere)
    with pytest.raises(EngineError, match=r"expected OpenVINO on GPU in f32, got CPU in f32; ask for a device"):
        OpenVinoEngine(bundle, bundle.manifest.graphs[0], EngineSettings(backend="openvino", device="gpu"))


def test_full_precision_and_few_threads_whatever_the_processor_offers(bundle):
    graph = bundle.manifest.graphs[0]
    compiled = compile_graph(bundle.read(graph), graph, ONE)
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("NUM_STREAMS") == 1
    assert compiled.get_property("EXECUTION_DEVICES") == ["CPU"]


@pytest.fixture(scope="module")
def feeds():
    """Inputs of each verb of the packaged model at batch 1; the photos are like those that travel."""
    secret = np.repeat(simulate(0, 224).image[:, :, None], 3, axis=2)[None]
    cover, reply = landscape(0, 224)[None], landscape(0, 224)[None].copy()
    reply[:, 60:120, 60:120] ^= 1
    return {
        "hide": {"secret": secret, "cover": cover},
        "analyze": {"stego": cover},
        "recover": {"reply": reply, "sent": cover},
    }


@pytest.mark.parametrize(("role", "verb"), [("client", "hide"), ("server", "analyze"), ("client", "recover")])
def test_the_packaged_model(feeds, role, verb):
    """The same as ONNX Runtime within what the product sends and shows, and the very same every time."""
    bundle = Bundle.open(defaults.bundle(role), role)
    output, *_ = bundle.graph(verb).outputs
    made = []
    for settings in (EngineSettings(threads=2), EngineSettings(backend="openvino", threads=2), ONE):
        graph = bundle.graph(verb, backend=settings.backend)
        with open_engine(bundle, graph, settings) as engine:
            made += [engine.run(feeds[verb])[output.name] for _ in range(1 if made else 2)]
    first, again, openvino, alone = made
    assert np.array_equal(first, again)
    assert np.array_equal(openvino, alone)  # nor does the number of threads count
    if verb == "recover":
        assert np.abs(openvino - first).max() < 1e-4
    else:
        levels = np.abs(openvino.astype(int) - first)
        assert levels.max() <= 1
        assert (levels == 0).mean() >= 0.995
