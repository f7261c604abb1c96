import dataclasses
import json
import re
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from tests.micro import micro_config, micro_system
from tests.standins.bundles import make_bundle

from hidemia.export import calibration, explicit
from hidemia.export.bundles import export_model, offered
from hidemia.export.calibration import Calibration, Effect, GraphCalibration
from hidemia.export.choice import Choice
from hidemia.export.command import export
from hidemia.export.effects import VERBS, Model, Noise, Remembered, measured
from hidemia.export.lint import problems
from hidemia.export.nodes import initializers, simplified
from hidemia.export.parity import BACKENDS, LITERAL, engines
from hidemia.export.probes import simulated
from hidemia.export.proof import with_variants
from hidemia.export.sensitivity import main, ranges_of
from hidemia.export.trip import BUDGETS, Budget, travel
from hidemia.export.variants import convolution_groups
from hidemia.runtime import Client, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings, open_engine
from hidemia.runtime.errors import BundleError, EngineError, ExportError
from hidemia.training.weights import save_weights

PROBES = simulated(2, 64)
FILES = {"hide": "hide.fp32.onnx", "analyze": "analyze.fp32.any.onnx", "recover": "recover.fp32.onnx"}


@pytest.fixture(scope="module")
def model(micro_graphs):
    config, made = micro_config(), micro_graphs
    graphs = {verb: simplified(onnx.load_from_string(made[path].data)) for verb, path in FILES.items()}
    entries = {verb: made[path].graph for verb, path in FILES.items()}
    opened = {verb: engines(graphs[verb].SerializeToString(), entries[verb]) for verb in FILES}
    everywhere = {name: {verb: Remembered(opened[verb][name]) for verb in FILES} for name in BACKENDS}
    ranges = ranges_of(graphs, everywhere["onnxruntime"], PROBES, "cpu")
    return Model(graphs, entries, everywhere, ranges, config.mask_threshold)


@pytest.fixture(scope="module")
def for_tensorrt(model):
    """The same model, to be rounded for TensorRT."""
    runs = model.everywhere["onnxruntime"]
    ranges = ranges_of(model.graphs, runs, PROBES, "tensorrt")
    return dataclasses.replace(model, everywhere={LITERAL: runs}, ranges=ranges, layout="tensorrt")


@pytest.fixture(scope="module")
def weights(model, for_tensorrt, tmp_path_factory):
    """Calibrated, as `hidemia.export.sensitivity` leaves them."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(micro_system(micro_config()), micro_config(), folder, bits=16)
    graphs = {verb: GraphCalibration(ranges=model.ranges[verb], fp32=[], effects=[]) for verb in FILES}
    graphs["hide"] = msgspec.structs.replace(graphs["hide"], fp32=["hider.f.1"])
    tensorrt = {verb: GraphCalibration(ranges=for_tensorrt.ranges[verb], fp32=[], effects=[]) for verb in FILES}
    tensorrt["recover"] = msgspec.structs.replace(tensorrt["recover"], fp32=["hider.ry.0"])
    found = Calibration(
        data={}, weights_sha256=calibration.weights_sha256(folder), graphs=graphs, tensorrt=tensorrt
    )  # fmt: skip
    calibration.save(found, folder)
    return folder


@pytest.fixture(scope="module")
def bundles(weights, tmp_path_factory):
    """All three precisions. Untrained networks lose what they like: here the budget is not what is tested."""
    out = tmp_path_factory.mktemp("bundles") / "micro"
    kept = dict(BUDGETS)
    BUDGETS.update(fp16=Budget(9, 100, 100), int8=Budget(9, 100, 100))
    try:
        export_model(weights, out, PROBES, public_key=True, layouts=["cpu", "tensorrt"])
    finally:
        BUDGETS.update(kept)
    return out


def test_files_and_their_order(bundles):
    client, server = (Bundle.open(bundles / role, role).manifest for role in ("client", "server"))
    assert [graph.path for graph in client.graphs] == [
        f"{verb}.{precision}.onnx"
        for forms in (("fp32.tiled", "fp32"), ("fp16",), ("int8",), ("int8.trt",))
        for verb in ("hide", "recover")
        for precision in forms
    ]
    assert [graph.path for graph in server.graphs] == [
        "analyze.fp32.one.onnx", "analyze.fp32.any.onnx", "analyze.fp16.any.onnx", "analyze.int8.any.onnx",
        "analyze.int8.any.trt.onnx",
    ]  # fmt: skip
    graphs = (*client.graphs, *server.graphs)
    int8 = {graph.verb: graph for graph in graphs if graph.precision == "int8" and graph.backends != ["tensorrt"]}
    assert int8["hide"].backends == ["onnxruntime", "openvino"]
    low, total = map(int, re.findall(r"[0-9]+", int8["hide"].precision_achieved.removeprefix("int8")))
    assert 0 < low < total  # hider.f.1 is left out
    assert sum("conv" in name.lower() for name in int8["hide"].fp32_nodes) >= 5


def test_every_variant_obeys_the_rules(bundles):
    for file in sorted(bundles.rglob("*.onnx")):
        model = onnx.load(file)
        assert problems(model) == [], file.name
        assert (model.ir_version, model.opset_import[0].version) == (8, 17)
        operators = {node.op_type for node in model.graph.node}
        assert ("QuantizeLinear" in operators) is (".int8." in file.name)
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        assert (onnx.TensorProto.INT8 in kinds) is (".int8." in file.name)
        if ".trt." in file.name:
            assert explicit.problems(model) == []
            assert not {onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16} & kinds


def test_each_engine_is_given_its_own_int8(bundles):
    client, server = (Bundle.open(bundles / role, role) for role in ("client", "server"))
    for bundle, verb in ((client, "hide"), (client, "recover"), (server, "analyze")):
        for backend in BACKENDS:
            assert ".trt." not in bundle.graph(verb, precision="int8", backend=backend).path
            first = bundle.graph(verb, backend=backend)
            assert ".trt." not in first.path
        graph = bundle.graph(verb, precision="int8", backend="tensorrt")
        assert (".trt." in graph.path, graph.backends) == (True, ["tensorrt"])
        with pytest.raises(EngineError, match="expected a graph for onnxruntime, got one for tensorrt; take another"):
            open_engine(bundle, graph, EngineSettings())


def test_tensorrt_has_a_choice_of_its_own(bundles):
    client = Bundle.open(bundles / "client", "client")
    paths = {verb: client.graph(verb, precision="int8", backend="tensorrt").path for verb in ("hide", "recover")}
    kernels = {
        verb: {name for name in initializers(onnx.load(bundles / "client" / path)) if name.endswith(".weight.zero")
               or (".kernels." in name and name.endswith(".zero"))}
        for verb, path in paths.items()
    }  # fmt: skip
    assert any(name.startswith("hider.f.1") for name in kernels["hide"])  # which the graph for CPUs leaves out
    assert not any(name.startswith("hider.ry.0") for name in kernels["recover"])
    assert any(name.startswith("hider.ry.1") for name in kernels["recover"])


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_runtime_runs_the_precision_it_is_asked_for(bundles, precision):
    secret, cover, _ = PROBES[0]
    photos = {}
    for name in ("fp32", precision):
        with Client.load(bundles / "client", precision=name) as client:
            photos[name] = client.hide(secret, cover)
        with Server.load(bundles / "server", precision=name) as server:
            assert server.analyze(np.stack([photos[name]] * 2)).shape == (2, 64, 64, 3)
    difference = np.abs(photos["fp32"].astype(int) - photos[precision])
    assert 0 < difference.mean() < (0.05 if precision == "fp16" else 3)


def test_a_bundle_without_it_says_so(tmp_path):
    with pytest.raises(BundleError, match="int8"):
        Client.load(make_bundle(tmp_path / "client", "client", ("fp32",)), precision="int8")


def test_measured_holds_the_figures_of_each_precision(bundles):
    trips = json.loads((bundles / "client" / "measured.json").read_text())["trips"]
    assert trips.keys() == {"images", "fp32", "fp16", "int8"}
    graphs = json.loads((bundles / "server" / "measured.json").read_text())["graphs"]
    assert graphs["analyze.int8.any.onnx"]["openvino"]["parity"]["identical_share"] < 1
    assert graphs["analyze.int8.any.onnx"]["openvino"]["latency_ms_batch_1"] > 0
    assert trips["int8"].keys() == {"onnxruntime", "openvino", "literal"}
    (engine,) = graphs["analyze.int8.any.trt.onnx"]
    assert engine == "literal"
    assert graphs["analyze.int8.any.trt.onnx"]["literal"]["latency_ms_batch_1"] is None


BUILD = """
import sys
from pathlib import Path
from hidemia.export.bundles import export_model
from hidemia.export.probes import simulated
from hidemia.export.trip import BUDGETS, Budget
BUDGETS.update(fp16=Budget(9, 100, 100), int8=Budget(9, 100, 100))
export_model(Path(sys.argv[1]), Path(sys.argv[2]), simulated(1, 64), public_key=True, layouts=["cpu", "tensorrt"])
"""


def test_another_process_without_images_builds_the_same_bytes(bundles, weights, tmp_path):
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, str(weights), str(tmp_path / "other")],
        check=True, env={"PYTHONHASHSEED": "1", "PATH": ""},
    )  # fmt: skip
    files = [file.relative_to(bundles) for file in bundles.rglob("*.*") if file.name != "measured.json"]
    assert len(files) == 17
    for file in files:
        assert (tmp_path / "other" / file).read_bytes() == (bundles / file).read_bytes(), file


def test_a_real_breach_fails_and_leaves_nothing(weights, tmp_path, monkeypatch, traced_once):
    """Ranges a thousand times too narrow: nearly nothing passes through recover, and no mask is found any more."""
    monkeypatch.setitem(BUDGETS, "fp16", Budget(9, 100, 100))
    found = calibration.load(weights)
    recover = found.graphs["recover"]
    narrow = {name: (low / 1000, high / 1000) for name, (low, high) in recover.ranges.items()}
    graphs = found.graphs | {"recover": msgspec.structs.replace(recover, ranges=narrow)}
    config = micro_config(mask_threshold=0.27)  # just above the probability where nothing changed
    broken = tmp_path / "weights"
    save_weights(micro_system(config), config, broken, bits=16)
    calibration.save(msgspec.structs.replace(found, graphs=graphs), broken)
    with pytest.raises(
        ExportError, match=r"^int8 in onnxruntime: expected the task's figure to lose at most 0\.5 points"
    ):
        export_model(broken, tmp_path / "out", PROBES, public_key=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["weights"]


def test_the_graph_for_tensorrt_is_held_to_the_budget_as_it_is_written(weights, micro_graphs, monkeypatch):
    found = calibration.load(weights)
    plain = [item for path, item in micro_graphs.items() if path in FILES.values()]

    def exported(ranges):
        return with_variants(plain, ["fp32", "int8"], ranges, PROBES[:1], 0.27, ["tensorrt"])

    recover = found.tensorrt["recover"]
    narrow = {name: (low / 1000, high / 1000) for name, (low, high) in recover.ranges.items()}
    broken = found.tensorrt | {"recover": msgspec.structs.replace(recover, fp32=[], ranges=narrow)}
    monkeypatch.setitem(BUDGETS, "int8", Budget(9, 0.5, 100))
    with pytest.raises(ExportError, match=r"^int8 in literal: expected the task's figure to lose at most 0\.5 points"):
        exported(msgspec.structs.replace(found, tensorrt=broken))
    monkeypatch.setitem(BUDGETS, "int8", Budget(9, 100, 100))
    made = exported(found)
    assert made.trips["int8"].keys() == {"literal"}
    assert [item.graph.backends for item in made.graphs[3:]] == [["tensorrt"]] * 3


def test_int8_needs_a_calibration(tmp_path):
    save_weights(micro_system(micro_config()), micro_config(), tmp_path / "weights", bits=16)
    assert offered(tmp_path / "weights") == ["fp32", "fp16"]
    with pytest.raises(ExportError, match=r"expected the ranges of int8, got no such file") as caught:
        export(["--weights", str(tmp_path / "weights"), "--out", str(tmp_path / "out"), "--precision", "fp32,int8"])
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_tensorrt_goes_with_int8(weights, tmp_path):
    with pytest.raises(ExportError, match=r"--tensorrt: expected int8 among the precisions, got fp32,fp16; add it"):
        export(["--weights", str(weights), "--out", str(tmp_path), "--precision", "fp32,fp16", "--tensorrt"])


@pytest.mark.parametrize("text", ["fp16", "fp32,fp8", ""])
def test_a_wrong_precision_is_a_wrong_call(tmp_path, capsys, text):
    with pytest.raises(SystemExit, match="2"):
        export(["--weights", str(tmp_path), "--out", str(tmp_path), "--precision", text])
    assert "expected fp32 and any of fp16, int8" in capsys.readouterr().err


def test_effects_are_measured_one_group_at_a_time(model):
    reference, found = travel(model.runs, PROBES, model.threshold)
    effects = list(measured(model, "hide", PROBES, reference, found))
    assert [effect.group for effect in effects] == ["hider.f.0", "hider.ry.0", "hider.f.1"]
    assert all(effect.noise > 0 and effect.convolutions >= 5 for effect in effects)
    groups = convolution_groups(model.graphs["recover"])
    assert set(groups) == {"hider.ry.0", "hider.f.1", "hider.ry.1"}
    effect = next(iter(measured(model, "recover", PROBES, reference, found)))
    assert (effect.stego_psnr_db, effect.reply_psnr_db) == (0, 0)  # the photos are already made


def test_effects_for_tensorrt_are_those_of_its_graph(for_tensorrt):
    reference, found = travel(for_tensorrt.runs, PROBES, for_tensorrt.threshold)
    (first, *_) = measured(for_tensorrt, "hide", PROBES, reference, found)
    assert first.group == "hider.f.0"
    assert first.noise > 0
    rounded = for_tensorrt.rounded_everywhere("hide", set())
    assert rounded.keys() == {LITERAL}
    feed = {"secret": PROBES[0].secret[None], "cover": PROBES[0].cover[None]}
    assert np.abs(rounded[LITERAL](feed)[0].astype(int) - for_tensorrt.runs["hide"](feed)[0]).max() <= 1


def test_noise_by_hand():
    noise = Noise(lambda _: [np.array([3, 5], np.uint8)], lambda _: [np.array([5, 4], np.uint8)], 1)
    assert noise({})[0].tolist() == [5, 4]
    assert noise.mean == 2.5


def test_the_choice_leaves_out_the_noisiest_until_the_budget_holds(model, monkeypatch):
    noise = {"hider.f.0": 4.0, "hider.ry.0": 1.0, "hider.f.1": 6.0}
    unmeasured = {"convolutions": 5, "stego_psnr_db": 0.0, "reply_psnr_db": 0.0, "task_points": 0.0}
    hiding = [Effect(group=group, noise=value, **unmeasured) for group, value in noise.items()]
    effects = {"hide": hiding, "analyze": [], "recover": []}
    monkeypatch.setitem(BUDGETS, "int8", Budget(1e9, 1e9, 1e9))
    easy = Choice(model, effects, PROBES)
    assert len(list(easy.make())) == 4
    assert easy.full == {"hide": [], "analyze": [], "recover": []}
    strict = Choice(model, effects, PROBES)
    broken = {"stego_psnr_db": 2.0, "reply_psnr_db": 0.0, "task": 0.0, "sealed": 0.0}
    monkeypatch.setattr(strict, "_losses", lambda *verbs: broken)
    assert "left in FP32 for stego_psnr_db" in "".join(list(strict.make()))
    assert strict.full["hide"] == ["hider.f.1", "hider.f.0", "hider.ry.0"]  # all, the noisiest first
    assert strict.full["recover"] == []


def test_the_losses_of_a_choice_are_those_of_the_trips_that_lose_most(model):
    nothing = {verb: [] for verb in VERBS}
    first, second = PROBES[:1], PROBES[1:]
    one, other = (Choice(model, nothing, kind)._losses(*VERBS) for kind in (first, second))
    assert one != other
    both = Choice(model, nothing, first, second)
    assert both._losses(*VERBS) == {name: max(one[name], other[name]) for name in one}
    assert f"on {len(first)} and {len(second)} trips" in next(both.make())


def test_the_next_to_be_left_out_is_of_the_graph_that_costs_most_by_now(model, monkeypatch):
    unmeasured = {"convolutions": 1, "stego_psnr_db": 0.0, "reply_psnr_db": 0.0, "task_points": 0.0}
    noises = {"hide": [], "analyze": [3.0, 2.0, 1.0], "recover": [5.0, 1.0]}
    effects = {
        verb: [Effect(group=f"{verb}.{i}", noise=noise, **unmeasured) for i, noise in enumerate(mine)]
        for verb, mine in noises.items()
    }
    choice = Choice(model, effects, PROBES)

    def losses(*verbs):
        begun = {verb: bool(groups) for verb, groups in choice.full.items()}
        task = {"hide": 0.1, "analyze": 0.1 if begun["analyze"] else 9.0, "recover": 0.1 if begun["recover"] else 3.0}
        return {"stego_psnr_db": 0.0, "reply_psnr_db": 0.0, "sealed": 0.0, "task": sum(task[verb] for verb in verbs)}

    monkeypatch.setattr(choice, "_losses", losses)
    steps = [line for line in choice.make() if line.startswith("left")]
    assert steps == [
        "left in FP32 for task: analyze.0 of analyze, alone +0.10 now",
        "left in FP32 for task: recover.0 of recover, alone +0.10 now",
    ]
    assert choice.full == {"hide": [], "analyze": ["analyze.0"], "recover": ["recover.0"]}


def test_a_folder_without_weights_is_one_line(tmp_path, capsys):
    assert main(["--weights", str(tmp_path), "--data", "d", "--covers", "c"]) == 1
    error = capsys.readouterr().err
    assert "expected a trained model, found no config.json" in error
    assert error.count("\n") == 1
