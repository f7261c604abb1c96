from __future__ import annotations

import onnx
import onnxruntime

from hidemia.runtime import fallback


def test_the_probe_is_what_it_says():
    model = onnx.load_from_string(fallback.PROBE)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    assert (model.ir_version, [(each.domain, each.version) for each in model.opset_import]) == (8, [("", 17)])


def test_it_lands_where_it_asks_to(capfd):
    assert fallback.lands_on("CPUExecutionProvider") == "CPUExecutionProvider"
    assert capfd.readouterr() == ("", "")


def test_a_silent_fallback_is_seen(monkeypatch):
    """As onnxruntime-gpu does it without CUDA's libraries: a session, on the CPU, without a word."""
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda data, options, providers: real(data, options, ["CPUExecutionProvider"]),
    )
    assert fallback.lands_on("CUDAExecutionProvider") == "CPUExecutionProvider"


def test_an_error_is_its_text(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("libcudnn.so.9: cannot open shared object file")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    assert fallback.lands_on("CUDAExecutionProvider") == "libcudnn.so.9: cannot open shared object file"
