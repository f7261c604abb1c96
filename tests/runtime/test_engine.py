from __future__ import annotations

import pytest

from hidemia.runtime import Client, EngineError
from hidemia.runtime.engine import DEVICES, EngineSettings, usable_threads

LEAVE = "leave it out, and limit the process where the engine cannot"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": 0}, "threads: expected at least 1, got 0; leave it out"),
        ({"gpu": 1}, "gpu: expected 0 with onnxruntime on cpu, got 1; leave it out"),
        ({"gpu": -1, "device": "cuda"}, "gpu: expected a number from 0, got -1; leave it out"),
        (
            {"gpu": 1, "backend": "tensorrt", "device": "cuda"},
            "gpu: expected 0 with tensorrt on cuda, got 1; leave it out",
        ),
        (
            {"memory_mib": 9, "backend": "tensorrt", "device": "cuda"},
            f"memory_mib: expected at least 1, with ONNX Runtime on cuda or tensorrt, got 9 on cuda; {LEAVE}",
        ),
        (
            {"memory_mib": 64},
            f"memory_mib: expected at least 1, with ONNX Runtime on cuda or tensorrt, got 64 on cpu; {LEAVE}",
        ),
        (
            {"memory_mib": 0, "device": "cuda"},
            f"memory_mib: expected at least 1, with ONNX Runtime on cuda or tensorrt, got 0 on cuda; {LEAVE}",
        ),
        (
            {"backend": "openvino", "device": "cuda"},
            "device: expected one of cpu, gpu with openvino, got 'cuda'; ask for one of these",
        ),
        ({"backend": "caffe"}, f"engine: expected one of {', '.join(DEVICES)}, got 'caffe'; ask for one of these"),
        (
            {"device": "toaster"},
            "device: expected one of cpu, cuda, tensorrt with onnxruntime, got 'toaster'; ask for one of these",
        ),
    ],
)
def test_settings_that_no_engine_knows(changes, message):
    with pytest.raises(EngineError) as caught:
        EngineSettings(**changes)
    assert str(caught.value) == message
    assert caught.value.exit_code == 2


def test_a_graph_that_does_not_name_the_engine_is_not_run_on_it(tiny, model, tmp_path):
    import msgspec

    from hidemia.runtime import manifest as manifests

    manifest = manifests.load((model.client / "manifest.json").read_bytes())
    elsewhere = [msgspec.structs.replace(graph, backends=["tensorrt"]) for graph in manifest.graphs]
    for graph in manifest.graphs:
        (tmp_path / graph.path).write_bytes((model.client / graph.path).read_bytes())
    (tmp_path / "manifest.json").write_bytes(manifests.dump(msgspec.structs.replace(manifest, graphs=elsewhere)))
    with pytest.raises(Exception, match="on onnxruntime for batch 1, got fp32 on tensorrt"):
        Client.load(tmp_path)


def test_usable_threads():
    assert 1 <= usable_threads() <= 8
