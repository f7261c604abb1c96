import numpy as np
import pytest
from tests.standins.bundles import SIZE, make_bundle

from hidemia.benchmarks import precision
from hidemia.benchmarks.pages import renewed
from hidemia.export.parity import runner
from hidemia.runtime.bundle import Bundle


@pytest.mark.parametrize("command", ["precision", "precision --tensorrt"])
def test_the_page_has_a_place_for_the_table(command):
    assert "| a |" in renewed(precision.PAGE.read_text(), command, ["| a |"])


def test_a_graph_for_tensorrt_is_computed_as_it_is_written(tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path / "client", "client", ("int8",)), "client")
    cpu, tensorrt = (bundle.graph("hide", backend=backend) for backend in ("onnxruntime", "tensorrt"))
    photos = np.random.default_rng(0).integers(0, 256, (2, 1, SIZE, SIZE, 3), np.uint8)
    feed = dict(zip(("secret", "cover"), photos, strict=True))
    with precision.Written(bundle, tensorrt) as engine:
        got = engine.run(feed)["stego"]
    (expected,) = runner(bundle.read(cpu))(feed)  # of the same codes, see make_graph
    assert np.array_equal(got, expected)
    assert [row.split("`")[1] for row in precision.speed_table([(bundle.path, "client")])[2:]] == [
        "hide.int8.onnx", "recover.int8.onnx"
    ]  # fmt: skip


def test_the_table_for_tensorrt_needs_images(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        precision.main(["--client", str(tmp_path), "--server", str(tmp_path), "--tensorrt"])
    assert "--tensorrt needs --data and --covers" in capsys.readouterr().err


def test_every_graph_is_sized_and_timed(exported, monkeypatch):
    monkeypatch.setattr(precision, "ROUNDS", 1)
    rows = precision.speed_table([(exported / "bundles" / role, role) for role in ("client", "server")])
    assert rows[0].startswith("| graph | MiB | onnxruntime | openvino |")
    assert [row.split("`")[1] for row in rows[2:]] == [
        "hide.fp32.tiled.onnx", "hide.fp32.onnx", "recover.fp32.tiled.onnx", "recover.fp32.onnx",
        "analyze.fp32.one.onnx", "analyze.fp32.any.onnx",
    ]  # fmt: skip
    assert all(row.endswith(" ms |") for row in rows[2:])
