import json
import stat

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.micro import micro_config, micro_system

from hidemia.export.bundles import export_model
from hidemia.export.command import export
from hidemia.export.graphs import FixedGridMean, pixels_in, pixels_out
from hidemia.export.parity import Parity
from hidemia.export.probes import real, simulated
from hidemia.runtime import Client, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import ReplyLimits
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.errors import TrainingError
from hidemia.training.heads import GridMean
from hidemia.training.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def bundles(weights, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "micro"
    export_model(weights, out, simulated(2, 64), public_key=True)
    return out


def test_the_runtime_reads_what_export_wrote(bundles):
    (secret, cover, _), (_, other, _) = simulated(2, 64)
    with Client.load(bundles / "client") as client, Server.load(bundles / "server") as server:
        stego = client.hide(secret, cover)
        reply = server.analyze(stego)
        result = client.recover(reply, sent=stego)
        both = server.analyze(np.stack([stego, other]))
    assert result.mask is not None
    assert result.mask.shape == (64, 64)
    assert set(np.unique(result.mask)) <= {0, 255}
    assert np.abs(both[0].astype(int) - reply).max() <= 1  # the other form of MoDC, the same photo


def test_an_analyzer_of_plain_convolutions_has_one_graph_for_every_batch(tmp_path):
    config = micro_config(analyzer=AnalyzerConfig(k=0, width=8, levels=2, attention_levels=1, seal=7))
    save_weights(micro_system(config), config, tmp_path / "weights")
    export_model(tmp_path / "weights", tmp_path / "out", simulated(2, 64), public_key=True, precisions=["fp32"])
    with Server.load(tmp_path / "out" / "server") as server:
        assert [(graph.path, graph.batch) for graph in server.manifest.graphs] == [("analyze.fp32.any.onnx", (1, None))]
        (_, first, _), (_, second, _) = simulated(2, 64)
        both = server.analyze(np.stack([first, second]))
        alone = server.analyze(first)
    kept, _ = load_weights(tmp_path / "weights")
    expected = pixels_out(kept.analyzer(pixels_in(torch.from_numpy(first)[None])).clamp(0, 1))[0].numpy()
    assert np.abs(both[0].astype(int) - alone).max() <= 1
    assert np.abs(alone.astype(int) - expected).max() <= 1


def test_a_client_gets_the_limits_that_training_set(tmp_path):
    limits = {"min_psnr_db": 31.5, "min_changed_share": 0.02, "max_low_change": 0.4, "min_seal_share": 0.8,
              "max_seal_strength": 1.9}  # fmt: skip
    config = micro_config(**{f"reply_{name}": value for name, value in limits.items()})
    save_weights(micro_system(config), config, tmp_path / "weights")
    export_model(tmp_path / "weights", tmp_path / "out", simulated(2, 64), public_key=True, precisions=["fp32"])
    got = Bundle.open(tmp_path / "out" / "client", "client").manifest.reply_limits
    assert got == ReplyLimits(**limits)


def test_manifests_agree(bundles):
    client, server = (Bundle.open(bundles / role, role).manifest for role in ("client", "server"))
    assert client.pair_id == server.pair_id
    assert [graph.path for graph in client.graphs] == [
        "hide.fp32.tiled.onnx", "hide.fp32.onnx", "recover.fp32.tiled.onnx", "recover.fp32.onnx",
        "hide.fp16.onnx", "recover.fp16.onnx",
    ]  # fmt: skip
    assert [(graph.path, graph.batch) for graph in server.graphs] == [
        ("analyze.fp32.one.onnx", (1, 1)),
        ("analyze.fp32.any.onnx", (1, None)),
        ("analyze.fp16.any.onnx", (1, None)),
    ]
    for graph in (*client.graphs[4:], server.graphs[2]):
        assert graph.precision == "fp16"
        assert graph.precision_achieved.startswith("fp16 in ")
        assert graph.fp32_nodes
    assert client.graphs[0].fp32_nodes == []
    for graph in client.graphs + server.graphs:
        assert ("openvino" in graph.backends) == (graph.form != "tiled")
    assert set(client.weights_sha256) == {"hider"}
    assert set(server.weights_sha256) == {"analyzer"}
    assert server.reply_limits is None


def kernels(arrays) -> set[bytes]:
    """Every 3x3 kernel, however the channels around it are stacked and padded."""
    rows = [array.astype(np.float32).reshape(-1, 9) for array in arrays if array.size % 9 == 0]
    return {row.tobytes() for array in rows for row in array if row.any()}


def stored(folder) -> set[bytes]:
    files = [onnx.load(file) for file in folder.glob("*.fp32*.onnx")]
    return kernels(numpy_helper.to_array(tensor) for file in files for tensor in file.graph.initializer)


def test_the_server_gets_none_of_the_hiders_weights(bundles, weights):
    system = micro_system(micro_config())
    hider = kernels(value.detach().numpy() for value in system.hider.parameters() if value.ndim == 4)
    server = stored(bundles / "server")
    assert server
    assert not hider & server
    assert hider & stored(bundles / "client")  # the comparison can see them where they are


def test_measured_stays_out_of_the_manifest(bundles):
    measured = json.loads((bundles / "server" / "measured.json").read_text())
    one = measured["graphs"]["analyze.fp32.one.onnx"]
    for engine in ("onnxruntime", "openvino"):
        assert one[engine]["parity"]["probes"] == 2
        assert one[engine]["latency_ms_batch_1"] > 0
        assert measured["environment"][engine]
        assert measured["trips"]["fp16"][engine].keys() == {"stego_psnr_db", "reply_psnr_db", "task", "sealed"}
    assert measured["trips"]["images"] == 2
    assert "latency" not in (bundles / "server" / "manifest.json").read_text()


def test_a_wrong_graph_is_not_shipped(weights, tmp_path, monkeypatch, traced_once):
    from hidemia.export.trained import Trained

    out = tmp_path / "out"
    right = Trained.forward

    def off_by_two(self, *photos):
        outputs = right(self, *photos)
        if self.verb != "hide":
            return outputs
        return (torch.where(outputs[0] > 100, outputs[0] - 2, outputs[0] + 2),)

    monkeypatch.setattr(Trained, "forward", off_by_two)
    with pytest.raises(ExportError, match=r"hide\.fp32\.tiled\.onnx in onnxruntime: .* got 0\.00% and 2;"):
        export_model(weights, out, simulated(1, 64), public_key=True, precisions=["fp32"])
    assert list(tmp_path.iterdir()) == []  # nothing half-made is left


def test_a_graph_that_one_engine_gets_wrong_is_not_shipped(weights, tmp_path, monkeypatch, traced_once):
    """As if OpenVINO computed in bfloat16, which is its default where the processor can."""
    from hidemia.export import parity

    def compiled(data, graph, settings):
        import openvino

        core = openvino.Core()
        return core.compile_model(core.read_model(_coarse(data)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(parity, "compile_graph", compiled)
    with pytest.raises(ExportError, match=r"hide\.fp32\.tiled\.onnx in openvino: expected at least 99\.5%"):
        export_model(weights, tmp_path / "out", simulated(1, 64), public_key=True, precisions=["fp32"])
    assert list(tmp_path.iterdir()) == []


def _coarse(data):
    """The graph with its weights rounded to the 8 bits of bfloat16."""
    model = onnx.load_from_string(data)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype in (np.float32, np.float16):
            bits = values.astype(np.float32).reshape(-1).view(np.uint32)
            rounded = ((bits + 0x8000) & 0xFFFF0000).view(np.float32).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(values.dtype), tensor.name))
    return model.SerializeToString()


def test_the_command_prints_the_proof_and_replaces_the_old_bundles_whole(weights, tmp_path, capsys, traced_once):
    out = tmp_path / "out"
    (out / "client").mkdir(parents=True)
    (out / "client" / "stale.onnx").write_bytes(b"old")
    assert export(["--weights", str(weights), "--out", str(out), "--precision", "fp32", "--triton", "--private"]) == 0
    printed = capsys.readouterr().out
    assert "hide.fp32.onnx" in printed
    assert "openvino" in printed
    assert "of each colour identical" in printed
    assert "results agree in" in printed
    assert sorted(file.name for file in out.iterdir()) == ["client", "server", "triton"]
    assert not (out / "client" / "stale.onnx").exists()
    assert Bundle.open(out / "client", "client").manifest.public_key is False
    assert stat.S_IMODE((out / "client").stat().st_mode) == 0o700  # its hider is the key
    Client.load(out / "client").close()
    model = out / "triton" / "photos" / "1" / "model.onnx"
    assert model.read_bytes() == (out / "server" / "analyze.fp32.any.onnx").read_bytes()


def test_command_without_weights(tmp_path):
    with pytest.raises(TrainingError, match=r"found no config\.json"):
        export(["--weights", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        export(["--weights", str(tmp_path), "--out", str(tmp_path / "out"), "--data", str(tmp_path)])


def test_real_probes_come_from_val(tmp_path):
    for name in ("data", "covers"):
        (tmp_path / name / "images").mkdir(parents=True)
        lines = ["image,mask,label,split,group"]
        for split, level in (("train", 10), ("val", 200)):
            cv2.imwrite(str(tmp_path / name / "images" / f"{split}.png"), np.full((80, 80, 3), level, np.uint8))
            lines.append(f"images/{split}.png,,{'good' if split == 'val' else 'bad'},{split},")
        (tmp_path / name / "index.csv").write_text("\n".join(lines))
    config = micro_config(task="classification", classes=("bad", "good"))
    ((secret, cover, truth),) = real(tmp_path / "data", tmp_path / "covers", config, 5)
    assert truth == 1
    assert (secret.shape, cover.shape) == ((64, 64, 3), (64, 64, 3))
    assert secret.min() == secret.max() == cover.min() == cover.max() == 200


def test_a_split_of_few_images_travels_again_in_other_photos(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("data", 2), ("covers", 3)):
        (tmp_path / name / "images").mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(tmp_path / name / "images" / f"{i}.png"), rng.integers(0, 256, (64, 64, 3), np.uint8))
        rows = [f"images/{i}.png,,good,val," for i in range(count)]
        (tmp_path / name / "index.csv").write_text("\n".join(["image,mask,label,split,group", *rows]))
    config = micro_config(task="classification", classes=("bad", "good"))
    made = real(tmp_path / "data", tmp_path / "covers", config, 5)
    trips = [(probe.secret.tobytes(), probe.cover.tobytes()) for probe in made]
    assert len(set(trips)) == len(trips) == 4
    assert len({secret for secret, _ in trips}) == 2
    assert len(real(tmp_path / "data", tmp_path / "covers", config, 99)) == 2 * 3  # no pair twice


@pytest.mark.parametrize("k", [0, 2])
@pytest.mark.parametrize("judged", [None, 3])
def test_a_model_of_classes_is_checked_with_simulated_images(judged, k, tmp_path, capsys):
    analyzer = AnalyzerConfig(width=8, levels=2, attention_levels=1, k=k, seal=7, classes=judged)
    config = micro_config(task="classification", classes=("bad", "good", "worse"), analyzer=analyzer)
    save_weights(micro_system(config), config, tmp_path / "weights", bits=8)
    asked = ["--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "out"), "--precision", "fp32"]
    assert export(asked) == 0
    assert "task 1.0000 on 12 trips (simulated)" in capsys.readouterr().out  # nothing is known of them
    (secret, cover, truth), *_ = simulated(1, 64, "classification")
    assert truth is None
    with Client.load(tmp_path / "out" / "client") as client, Server.load(tmp_path / "out" / "server") as server:
        stego = client.hide(secret, cover)
        found = client.probability(server.analyze(stego), sent=stego)
    assert found.sum() == pytest.approx(1)
    assert len(found) == 3


def test_parity_budgets():
    """Colour by colour: under a veil in blue, two thirds of a reply's values are equal whatever the network did."""
    base = np.full((1, 20, 20, 3), 100, np.uint8)
    one = base.copy()
    one[0, 0, 0, 0] = 101
    parity = Parity()
    parity.add_photo(base, one)
    assert (parity.identical_share, parity.max_levels) == (399 / 400, 1)
    parity.require("fine")
    three = base.copy()
    three[0, 0, :3, 2] = 101  # of all 1,200 values 0.25 %
    parity.add_photo(base, three)
    with pytest.raises(ExportError, match=r"at least 99\.5%.*99\.25% and 1"):
        parity.require("x.onnx")
    parity.require("a deep network", 0.97)
    results = Parity()
    truth = np.linspace(0, 1, 1000, dtype=np.float32).reshape(20, 50)
    results.add_result(truth, truth + np.float32(0.0009), 0.5)
    results.require("one pixel in a thousand")
    results.add_result(truth, truth + np.float32(0.0029), 0.5)
    with pytest.raises(ExportError, match=r"99\.70%"):
        results.require("x.onnx")


@pytest.mark.parametrize(("count", "side"), [(3, 224), (3, 64), (14, 224), (3, 9)])
def test_windows_are_those_of_adaptive_pooling(count: int, side: int) -> None:
    image = torch.rand(2, 2, side, side)
    assert torch.allclose(FixedGridMean(count, side)(image), GridMean(count)(image), rtol=0, atol=1e-5)
