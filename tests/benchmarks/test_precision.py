from tests.micro import micro_config, micro_system

from hidemia.benchmarks import precision
from hidemia.benchmarks.pages import renewed
from hidemia.export.bundles import export_model
from hidemia.export.probes import simulated
from hidemia.training.weights import save_weights


def test_the_page_has_a_place_for_the_table():
    assert "| a |" in renewed(precision.PAGE.read_text(), "precision", ["| a |"])


def test_every_graph_is_sized_and_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "ROUNDS", 1)
    config = micro_config()
    save_weights(micro_system(config), config, tmp_path / "weights", half=True)
    export_model(tmp_path / "weights", tmp_path / "out", simulated(1, 64), public_key=True, precisions=["fp32"])
    rows = precision.speed_table([(tmp_path / "out" / role, role) for role in ("client", "server")])
    assert rows[0].startswith("| graph | MiB | onnxruntime | openvino |")
    assert [row.split("`")[1] for row in rows[2:]] == [
        "hide.fp32.tiled.onnx", "hide.fp32.onnx", "recover.fp32.tiled.onnx", "recover.fp32.onnx",
        "analyze.fp32.one.onnx", "analyze.fp32.any.onnx",
    ]  # fmt: skip
    assert all(row.endswith(" ms |") for row in rows[2:])
