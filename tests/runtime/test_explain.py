from __future__ import annotations

import msgspec
import pytest

from hidemia.runtime import manifest as manifests
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.environment import Environment
from hidemia.runtime.explain import explain
from hidemia.runtime.nvidia import Gpu

CPU = ["CPUExecutionProvider"]


def machine(**changes) -> Environment:
    values = {
        "os": "Linux 6.8.0",
        "architecture": "x86_64",
        "cpu": "a CPU",
        "cores": 8,
        "python": "3.12.3",
        "engines": {"onnxruntime": "1.20.1"},
    }
    return Environment(**(values | changes))


@pytest.fixture
def manifest(model):
    return manifests.load((model.server / "manifest.json").read_bytes())


def lines(found) -> list[str]:
    assert not any("\n" in item.text for item in found)
    return [f"{item.grade} {item.kind} {item.text}" for item in found]


def changed(manifest, **changes):
    graphs = [msgspec.structs.replace(graph, **changes) for graph in manifest.graphs]
    return msgspec.structs.replace(manifest, graphs=graphs)


def test_nothing_to_say(manifest):
    assert explain(manifest, machine(), providers=CPU) == []


@pytest.mark.parametrize(
    ("engines", "line"),
    [
        ({}, "FAIL engine engine: expected onnxruntime, got no such package; pip install 'hidemia[cpu]'"),
        (
            {"onnxruntime": "1.20.1", "onnxruntime-gpu": "1.22.0"},
            (
                "FAIL engine onnxruntime 1.20.1 and onnxruntime-gpu 1.22.0 overwrite each other: "
                "uninstall all of them, then install one"
            ),
        ),
    ],
)
def test_engines(manifest, engines, line):
    assert lines(explain(manifest, machine(engines=engines), providers=CPU)) == [line]


def test_a_missing_provider_and_gpu(manifest):
    found = explain(manifest, machine(), settings=EngineSettings(device="cuda"), providers=CPU)
    assert lines(found) == [
        (
            "FAIL gpu gpu: expected an NVIDIA GPU that CUDA can use, got none; "
            "install NVIDIA's current driver, then run nvidia-smi"
        ),
        (
            "FAIL provider onnxruntime: expected CUDAExecutionProvider, got CPUExecutionProvider; "
            "pip uninstall every onnxruntime, then pip install 'hidemia[gpu]'"
        ),
    ]
    here = machine(gpus=[Gpu(name="NVIDIA L4", compute_capability="8.9")])
    offered = ["CUDAExecutionProvider", *CPU]
    assert explain(manifest, here, settings=EngineSettings(device="cuda"), providers=offered) == []


def test_no_graph_for_the_engine_or_the_precision(manifest):
    assert lines(explain(changed(manifest, backends=["openvino"]), machine())) == [
        (
            "FAIL graph tiny: expected a graph for analyze, any precision on onnxruntime, got fp32 on openvino; "
            "ask for one of these or export the bundle again"
        )
    ]
    assert lines(explain(manifest, machine(), precision="int8")) == [
        (
            "FAIL graph tiny: expected a graph for analyze, int8 on onnxruntime, got fp32 on onnxruntime; "
            "ask for one of these or export the bundle again"
        )
    ]


def test_opset_and_ir_beyond_the_engine(manifest):
    newer = changed(manifest, opset=24, ir_version=11)
    text = (
        "analyze.fp32.onnx: expected {} or older, which onnxruntime reads since 1.20, got {} with "
        "onnxruntime {}; update onnxruntime, or export the bundle again"
    )
    assert lines(explain(newer, machine())) == [
        "FAIL opset " + text.format("opset 21", 24, "1.20.1"),
        "FAIL opset " + text.format("IR version 10", 11, "1.20.1"),
    ]
    assert [item.grade for item in explain(newer, machine(engines={"onnxruntime": "1.32.0"}))] == ["warn", "warn"]


@pytest.fixture
def tensorrt():
    """Ask for TensorRT on the machine that the receipt of `tiny` comes from."""
    return EngineSettings(backend="tensorrt", device="cuda"), machine(
        engines={"tensorrt": "10.3.0"},
        tensorrt="10.3.0",
        cuda_driver="12.5",
        driver="555.42.06",
        gpus=[Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9")],
    )


def test_plans(manifest, model, tiny, tensorrt):
    settings, here = tensorrt
    onnx = (model.server / "analyze.fp32.onnx").read_bytes()
    fits, elsewhere = tiny.make_receipt(b"p", onnx), tiny.make_receipt(b"p", onnx, tensorrt="8.6.1")
    foreign = tiny.make_receipt(b"p", b"another graph")

    def explained(**receipts):
        found = explain(manifest, here, settings=settings, receipts=receipts, folder="b/server")
        return [(item.kind, item.text) for item in found]

    build = "hidemia build --server b/server --precision fp32"
    assert explained(a=fits) == []
    assert explained(a=elsewhere, b=fits) == []  # one that runs is enough
    assert explained() == [("plan", f"analyze.fp32.onnx: expected a TensorRT plan for this machine, got none; {build}")]
    assert explained(a=elsewhere, b=foreign) == [
        ("tensorrt", f"a: analyze.fp16.plan: expected TensorRT 8.6.1, got 10.3.0; {build}"),
        (
            "plan",
            (
                "b: analyze.fp16.plan: expected a plan of analyze.fp32.onnx "
                f"{manifest.graphs[0].sha256[:16]}..., got one of {foreign.plans[0].onnx_sha256[:16]}...; {build}"
            ),
        ),
    ]


def test_no_tensorrt(manifest, tensorrt):
    settings, _ = tensorrt
    assert [item.kind for item in explain(manifest, machine(), settings=settings)] == ["engine", "gpu", "plan"]


def test_only_the_precision_that_would_be_loaded_needs_plans(manifest, model, tiny, tensorrt):
    settings, here = tensorrt
    (graph,) = manifest.graphs
    int8 = msgspec.structs.replace(graph, path="analyze.int8.trt.onnx", precision="int8", backends=["tensorrt"])
    both = msgspec.structs.replace(manifest, graphs=[graph, int8])
    receipt = tiny.make_receipt(b"p", (model.server / "analyze.fp32.onnx").read_bytes())
    assert explain(both, here, settings=settings, receipts={"a": receipt}) == []
    (found,) = explain(both, here, settings=settings, receipts={"a": receipt}, precision="int8")
    assert found.text == (
        "analyze.int8.trt.onnx: expected a TensorRT plan for this machine, got none; "
        "hidemia build --server DIR --precision int8"
    )
