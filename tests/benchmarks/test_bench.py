import io
import json

import pytest
import torch
from rich.console import Console
from tests.micro import micro_config, micro_system

from hidemia.benchmarks import bench, timing
from hidemia.export.bundles import export_model
from hidemia.export.probes import simulated
from hidemia.training.weights import save_weights


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    config = micro_config()
    save_weights(micro_system(config), config, folder / "weights", half=True)
    export_model(folder / "weights", folder / "micro", simulated(1, 64), public_key=True)
    grad = torch.is_grad_enabled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "PRODUCT_SIDE", 64)
        patch.setattr(bench, "QUICK_ROUNDS", 1)
        parts = ("--client", str(folder / "micro" / "client"), "--server", str(folder / "micro" / "server"))
        code = bench.bench(["--quick", "--out", str(folder / "out"), "--weights", str(folder / "weights"), *parts])
    torch.set_grad_enabled(grad)
    assert code == 0
    assert [file.name for file in (folder / "out").iterdir()] == ["report.json"]
    return json.loads((folder / "out" / "report.json").read_text())


def test_every_row_is_there_once(report):
    assert [row["id"] for row in report["targets"]] == [
        "hide_fp32_ort", "hide_fp32_best", "hide_int8_best", "modc_vs_branches", "modc_vs_plain", "peak_share",
        "trip_overhead", "batch8", "startup_s", "startup_mib", "trt_fp16",
    ]  # fmt: skip
    for row in report["targets"]:
        assert {"id", "target", "measured", "unit", "holds"} <= set(row) <= {*row, "reason"}
        assert (row["measured"] is None) == (row["holds"] is None) == ("reason" in row)
        assert row["measured"] is None or row["measured"] > 0


def test_the_report_says_how_and_where(report):
    assert report["method"]["rounds"] == 1
    assert report["environment"]["threads"] >= 1
    assert {"hidemia", "onnxruntime", "numpy", "torch"} <= set(report["environment"]["versions"])
    peaks = report["peak_mib"]
    assert {"hide.fp32.tiled.onnx onnxruntime", "analyze.fp32.one.onnx onnxruntime"} <= set(peaks)
    assert all(10 < mib < 1000 for mib in peaks.values())


def test_an_unsteady_run_says_so(report):
    def printed(unsteadiness):
        console = Console(file=io.StringIO(), width=200)
        bench.show(report | {"unsteadiness": unsteadiness}, console)
        return console.file.getvalue()

    assert "not steady" in printed(1.5)
    assert "not steady" not in printed(1.1)
    assert "startup_mib" in printed(1.1)
