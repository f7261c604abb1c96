"""The whole way from a bundle to a plan that runs, against the real bindings' signatures (`tests/standins`)."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.standins.bundles import SIZE, make_bundle
from tests.standins.gpu import Gpu
from tests.standins.machine import VERSIONS

from hidemia.export import build as builder
from hidemia.export.plan import PlanSettings, build_plan
from hidemia.runtime import EngineError, cli, receipt
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings, open_engine
from hidemia.runtime.errors import ExportError

ONE = PlanSettings(batch=(1, 1, 1))


@pytest.fixture
def client(tmp_path) -> Path:
    return make_bundle(tmp_path / "client", "client", ("fp32", "fp16", "int8"))


@pytest.fixture
def run(capsys):
    def run(*arguments) -> tuple[int, list[str], str]:
        code = cli.main(["build", *(str(argument) for argument in arguments)])
        shown = capsys.readouterr()
        assert shown.err.count("\n") <= 1
        return code, shown.out.splitlines(), shown.err

    return run


def the_receipt(bundle: Path) -> receipt.Receipt:
    (file,) = (bundle / "plans").glob("*/receipt.json")
    return receipt.load(file.read_bytes())


def outputs(bundle: Path, backend: str, precision: str, photos: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    opened = Bundle.open(bundle, "client")
    settings = EngineSettings(backend=backend, device="cuda" if backend == "tensorrt" else "cpu")
    found = {}
    for verb in ("hide", "recover"):
        graph = opened.graph(verb, precision=precision, backend=backend)
        with open_engine(opened, graph, settings) as engine:
            found |= engine.run({tensor.name: photos[tensor.name] for tensor in graph.inputs})
    return found


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_built_and_run(each_machine, client, run, rng_photos, precision):
    code, lines, error = run("--client", client, "--precision", precision)
    assert (code, error) == (0, "")
    name = {"int8": "int8.trt"}.get(precision, precision)
    assert [line.split()[0] for line in lines] == [f"hide.{name}.plan", f"recover.{name}.plan"]
    assert f"2 layers in {precision}; built and run" in lines[0]
    expected = outputs(client, "onnxruntime", precision, rng_photos)
    got = outputs(client, "tensorrt", precision, rng_photos)
    assert all(np.array_equal(expected[name], got[name]) for name in ("stego", "probability"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_receipt_says_all(each_machine, client, run, precision):
    run("--client", client, "--precision", precision, "--workspace", 64)
    found = the_receipt(client)
    graph = Bundle.open(client, "client").graph("hide", precision=precision, backend="tensorrt")
    plan = found.plans[0]
    (folder,) = (client / "plans").iterdir()
    data = (folder / plan.path).read_bytes()
    cache = next(each_machine_cache(each_machine))
    assert (plan.sha256, plan.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (plan.onnx_path, plan.onnx_sha256) == (graph.path, graph.sha256)
    assert (plan.precision, plan.precision_achieved) == (precision, {precision: 2})
    assert (plan.batch, plan.workspace_mib, plan.tf32) == ((1, 1, 1), 64, False)
    assert (found.tensorrt, found.gpu, found.compute_capability) == (
        each_machine.trt.__version__, "NVIDIA Test 4000", "8.9",
    )  # fmt: skip
    assert (found.cuda, found.driver, found.l4t) == ("12.4", "550.54", None)
    assert found.timing_cache_sha256 == hashlib.sha256(cache.read_bytes()).hexdigest()
    flags = {"fp32": [], "fp16": ["FP16"], "int8": ["INT8"]}[precision] if found.tensorrt.startswith("8") else []
    assert plan.flags == flags


def each_machine_cache(machine):
    return (Path(os.environ["XDG_CACHE_HOME"]) / "hidemia" / "tensorrt").iterdir()


def test_tf32_is_off_and_the_workspace_limited(each_machine, client):
    graph = Bundle.open(client, "client").graph("hide")
    built = build_plan(each_machine.trt, (client / graph.path).read_bytes(), graph, ONE)
    head = json.loads(built.data[len(b"standin-plan") + 4 :].split(b'"shapes"')[0].rstrip(b", ") + b"}")
    assert head["tf32"] is False


@pytest.mark.parametrize("version", VERSIONS)
def test_fp16_that_was_ignored_is_no_plan(machine, client, run, version):
    machine.become(version)
    machine.state.ignore_precision = True
    code, lines, error = run("--client", client, "--precision", "fp16")
    assert (code, lines) == (1, [])
    assert "hide.fp16.onnx: expected its layers in fp16, got 2 in fp32; TensorRT ignored the precision" in error
    assert not list((client / "plans").rglob("*.plan"))
    assert not list((client / "plans").rglob("*.json"))


def test_nodes_that_stay_in_fp32_are_pinned_in_8_6(machine, tmp_path, run):
    machine.become("8.6")
    client = make_bundle(tmp_path / "pinned", "client", ("fp16",), fp32_nodes=["conv_b"])
    assert run("--client", client)[0] == 0
    plan = the_receipt(client).plans[0]
    assert plan.precision_achieved == {"fp16": 1, "fp32": 1}
    assert plan.flags == ["FP16", "OBEY_PRECISION_CONSTRAINTS"]


def test_a_pin_that_was_ignored_is_no_plan(machine, tmp_path, run):
    machine.become("8.6")
    machine.state.ignore_pins = True
    client = make_bundle(tmp_path / "pinned", "client", ("fp16",), fp32_nodes=["conv_b"])
    code, _, error = run("--client", client)
    assert code == 1
    assert "expected the manifest's fp32_nodes in fp32" in error


def test_a_server_gets_both_forms_and_its_batches(each_machine, tmp_path, run, rng):
    server = make_bundle(tmp_path / "server", "server", ("fp32",))
    assert run("--server", server)[0] == 0
    batches = {plan.path: plan.batch for plan in the_receipt(server).plans}
    assert batches == {"analyze.fp32.any.plan": (1, 8, 8), "analyze.fp32.one.plan": (1, 1, 1)}


def test_batches_asked_for(machine, tmp_path, run):
    server = make_bundle(tmp_path / "server", "server", ("fp32",))
    assert run("--server", server, "--batch", "2-32")[0] == 0
    assert [plan.batch for plan in the_receipt(server).plans] == [(2, 32, 32), (1, 1, 1)]
    assert run("--server", server, "--batch", "8")[0] == 0
    assert [plan.batch for plan in the_receipt(server).plans] == [(8, 8, 8), (1, 1, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", "8-2"), "--batch: expected the smaller number first, got 8-2"),
        (("--batch", "0"), "expected an integer of at least 1, got '0'"),
        (("--precision", "fp8"), "expected some of fp32,fp16,int8, got 'fp8'"),
        (("--workspace", "none"), "expected an integer of at least 1"),
    ],
)
def test_a_wrong_call(machine, client, run, arguments, message):
    code, _, error = run("--client", client, *arguments)
    assert code == 2
    assert message in error


def test_int8_for_cpus_is_never_built(each_machine, client, run, tmp_path):
    manifest = json.loads((client / "manifest.json").read_text())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["backends"] != ["tensorrt"]]
    (client / "manifest.json").write_text(json.dumps(manifest))
    code, _, error = run("--client", client, "--precision", "int8")
    assert code == 2
    assert "expected a graph for hide, int8 on tensorrt for batch 1, got fp32 on onnxruntime" in error
    assert error.endswith("export the bundle again with --tensorrt\n")
    assert each_machine.state.builds == 0
    graph = Bundle.open(client, "client").graph("hide", precision="int8")
    with pytest.raises(EngineError, match=r"hide\.int8\.onnx: expected a graph for tensorrt, got one for onnxruntime;"):
        open_engine(Bundle.open(client), graph, EngineSettings(backend="tensorrt", device="cuda"))
    # And its parser would not have it.
    with pytest.raises(ExportError, match=r"UINT8|Non-zero zero point"):
        build_plan(each_machine.trt, (client / graph.path).read_bytes(), graph, ONE)


def test_a_form_for_one_engine_is_not_built(machine, tmp_path, run):
    client = make_bundle(tmp_path / "tiled", "client", ("fp32",), form="tiled")
    code, _, error = run("--client", client)
    assert code == 2
    assert "expected a graph for hide, any precision on tensorrt" in error


def test_a_precision_that_the_bundle_lacks(machine, tmp_path, run):
    client = make_bundle(tmp_path / "only", "client", ("fp32",))
    code, _, error = run("--client", client, "--precision", "int8")
    assert code == 2
    assert "expected a graph for hide, int8 on tensorrt for batch 1" in error


def test_the_second_run_does_nothing(each_machine, client, run):
    run("--client", client)
    before = {file: file.stat().st_mtime_ns for file in (client / "plans").rglob("*")}
    code, lines, _ = run("--client", client)
    assert code == 0
    assert lines[0].split(maxsplit=1) == ["hide.fp32.plan", "is there, built for this machine"]
    assert each_machine.state.builds == 2
    assert {file: file.stat().st_mtime_ns for file in (client / "plans").rglob("*")} == before


def test_a_damaged_plan_is_built_again(machine, client, run):
    run("--client", client)
    (plan,) = (client / "plans").rglob("hide.fp32.plan")
    plan.write_bytes(plan.read_bytes()[:-1])
    _, lines, _ = run("--client", client)
    assert "built and run" in lines[0]
    assert "is there" in lines[1]


def test_the_timing_cache_is_used(each_machine, client, run):
    run("--client", client)
    run("--client", client, "--workspace", 512)
    assert each_machine.state.measured == [3, 0, 0, 0]


@pytest.mark.parametrize("kept", [b"damaged", b'["another GPU"]'])
def test_a_timing_cache_that_does_not_suit_is_begun_anew(each_machine, client, run, kept):
    run("--client", client)
    (file,) = each_machine_cache(each_machine)
    file.write_bytes(kept)
    assert run("--client", client, "--workspace", 512)[0] == 0
    assert each_machine.state.measured == [3, 0, 3, 0]
    assert b"conv_a" in file.read_bytes()


def test_another_precision_keeps_the_first(machine, client, run):
    run("--client", client, "--precision", "fp32")
    run("--client", client, "--precision", "fp16,int8")
    assert [plan.path for plan in the_receipt(client).plans] == [
        f"{verb}.{kind}.plan" for verb in ("hide", "recover") for kind in ("fp16", "fp32", "int8.trt")
    ]


@pytest.mark.parametrize(
    ("level", "version"), [("same-compute-capability", "10.3"), ("same-compute-capability", "8.6")]
)
def test_a_level_that_this_tensorrt_lacks(machine, client, run, level, version):
    machine.become(version)
    code, _, error = run("--client", client, "--hardware", level)
    assert code == 2
    assert "expected a level that TensorRT" in error


def test_other_gpus_and_versions(machine, client, run, rng_photos):
    machine.become("10.13")
    code, _, _ = run("--client", client, "--hardware", "same-compute-capability", "--version-compatible")
    assert code == 0
    assert the_receipt(client).plans[0].flags == ["VERSION_COMPATIBLE"]
    expected = outputs(client, "onnxruntime", "fp32", rng_photos)
    machine.become("10.13", Gpu("NVIDIA Test 4090"))
    machine.trt.__version__ = "10.14.1"
    assert np.array_equal(outputs(client, "tensorrt", "fp32", rng_photos)["stego"], expected["stego"])


def test_an_onnx_file_that_tensorrt_cannot_build(machine, client, run):
    machine.state.fail_build = "could not find any implementation"
    code, _, error = run("--client", client)
    assert code == 1
    assert "hide.fp32.onnx: expected a plan, got none: could not find any implementation" in error


def test_a_graph_that_tensorrt_cannot_read(each_machine, client):
    graph = Bundle.open(client, "client").graph("hide")
    with pytest.raises(ExportError, match="expected an ONNX file that TensorRT reads, got node -1: Failed to parse"):
        build_plan(each_machine.trt, b"no onnx", graph, ONE)


def test_an_impossible_profile(machine, client):
    graph = Bundle.open(client, "client").graph("hide")
    with pytest.raises(ExportError, match="expected a profile for batch"):
        build_plan(machine.trt, (client / graph.path).read_bytes(), graph, PlanSettings(batch=(4, 2, 1)))


def test_interrupted(machine, client, run, monkeypatch):
    def interrupt(share):
        raise KeyboardInterrupt

    monkeypatch.setattr("hidemia.export.progress.Progress.draw", lambda self, share: interrupt(share))
    code, lines, error = run("--client", client)
    assert (code, lines, error) == (130, [], "hidemia build: interrupted\n")
    assert not [file for file in (client / "plans").rglob("*") if file.is_file()]


def test_progress_is_drawn_on_a_terminal_only(machine, client, capsys, monkeypatch):
    graph = Bundle.open(client, "client").graph("hide")
    build_plan(machine.trt, (client / graph.path).read_bytes(), graph, ONE)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    build_plan(machine.trt, (client / graph.path).read_bytes(), graph, ONE)
    shown = capsys.readouterr().err
    assert "hide.fp32.onnx: 33%" in shown
    assert "hide.fp32.onnx: 100%" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_full_disk(machine, client, run, monkeypatch):
    def full(path, data):
        if path.suffix == ".plan":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        path.write_bytes(data)

    monkeypatch.setattr("hidemia.export.shelf.write", full)
    code, _, error = run("--client", client)
    assert code == 1
    assert "hide.fp32.plan: expected to write plans there, got No space left on device; make room" in error
    assert not list((client / "plans").rglob("*.json"))


def test_a_cache_that_cannot_be_written(machine, client, run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, _, error = run("--client", client)
    assert code == 1
    assert "timing cache" in error
    assert "Not a directory; mend it, or name another folder in XDG_CACHE_HOME" in error
    assert machine.state.builds == 0


def test_a_bundle_that_cannot_be_written(machine, client, run):
    (client / "plans").write_text("")
    code, _, error = run("--client", client)
    assert code == 1
    assert "plans: expected to write plans there, got File exists" in error


def test_a_plan_that_does_not_run_does_not_count(machine, client, run, monkeypatch):
    def fail(*_):
        raise EngineError("it does not run")

    monkeypatch.setattr("hidemia.export.build._try", fail)
    code, _, error = run("--client", client)
    assert (code, error) == (1, "hidemia build: it does not run\n")
    assert not list((client / "plans").rglob("*.json"))


def test_plans_are_as_private_as_their_bundle(machine, client, run):
    client.chmod(0o770)
    run("--client", client)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [client / "plans", *(client / "plans").iterdir()]}
    assert modes == {0o750}
    assert {stat.S_IMODE(file.stat().st_mode) for file in (client / "plans").glob("*/*")} == {0o640}


def test_no_tensorrt(machine, client, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert run("--client", client) == (
        1, [], "hidemia build: engine: expected tensorrt, got no package tensorrt; pip install 'hidemia[tensorrt]'\n",
    )  # fmt: skip


@pytest.mark.parametrize("version", ["8.5.3", "9.3.0", "12.0.0"])
def test_a_tensorrt_that_nothing_was_written_for(machine, client, run, version):
    machine.trt.__version__ = version
    code, _, error = run("--client", client)
    assert code == 1
    assert f"expected TensorRT 8.6, 10 or 11, got {version}" in error


def test_no_gpu(each_machine, client, run):
    each_machine.gpu.present = False
    code, _, error = run("--client", client)
    assert code == 1
    assert "expected a GPU and TensorRT, got none; see hidemia doctor" in error


def test_export_says_what_it_did_not_build(machine, tmp_path, monkeypatch):
    make_bundle(tmp_path / "out" / "client", "client", ("fp32", "fp16"))
    make_bundle(tmp_path / "out" / "server", "server", ("fp32", "fp16"))
    machine.gpu.present = False
    line = builder.build_here(tmp_path / "out")
    assert line == "TensorRT plans: none built here: plans: expected a GPU and TensorRT, got none; see hidemia doctor"
    machine.gpu.present = True
    assert builder.build_here(tmp_path / "out").startswith("TensorRT plans: built in ")
    assert len(the_receipt(tmp_path / "out" / "client").plans) == 4
    assert len(the_receipt(tmp_path / "out" / "server").plans) == 4


def test_build_needs_neither_torch_nor_onnx():
    code = (
        "import sys, hidemia.export.build\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'tensorrt', 'cuda'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def rng_photos(rng) -> dict[str, np.ndarray]:
    names = ("secret", "cover", "reply", "sent")
    return {name: rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for name in names}


@pytest.fixture(scope="module")
def real_graphs(micro_graphs):
    """Every graph for TensorRT that export writes of a small model, with its entry in the manifest."""
    import onnx

    from hidemia.export.calibration import GraphCalibration, collect
    from hidemia.export.nodes import simplified
    from hidemia.export.variants import in_fp16, in_int8

    found = {}
    photo = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    for path, item in micro_graphs.items():
        verb, form = item.graph.verb, item.graph.form
        if form != "tiled":
            found[path] = item.graph, item.data
        if form in (None, "any"):
            feed = {tensor.name: photo for tensor in item.graph.inputs}
            ranges = collect(simplified(onnx.load_from_string(item.data)), [feed], "tensorrt")
            left = ["hider.f.1"] if verb == "hide" else []
            calibration = GraphCalibration(ranges=ranges, fp32=left, effects=[])
            found[f"{verb}.fp16"] = in_fp16(item.graph, item.data)
            found[f"{verb}.int8"] = in_int8(item.graph, item.data, calibration, "tensorrt")
    return found


def test_the_graphs_that_export_writes(each_machine, real_graphs):
    assert len(real_graphs) == 10
    for graph, data in real_graphs.values():
        built = build_plan(each_machine.trt, data, graph, ONE)
        low = int(re.match(r"\w+ in (\d+) of", graph.precision_achieved)[1]) if graph.precision != "fp32" else 0
        if graph.precision == "fp32":
            assert set(built.types) == {"fp32"}, graph.path
            assert built.types["fp32"] > 10
        elif each_machine.state.major > 8:
            # The types are the graph's, layer by layer, and there is no flag to ask with.
            assert (built.types[graph.precision], built.flags) == (low, []), graph.path
        else:
            flag = graph.precision.upper()
            assert built.flags == sorted([flag, "OBEY_PRECISION_CONSTRAINTS"]), graph.path
            assert built.types[graph.precision] >= low


def test_int8_that_a_parser_would_misread_is_refused_before(real_graphs):
    """A graph that 10 and 11 would take with a warning, and cut off half of its codes."""
    import onnx
    from onnx import numpy_helper

    from hidemia.export.explicit import problems

    model = onnx.load_from_string(real_graphs["hide.int8"][1])
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".zero") and not tensor.dims:
            tensor.CopyFrom(numpy_helper.from_array(np.uint8(0), tensor.name))
    assert sum("is not a stored int8 of 0" in text for text in problems(model)) > 10
