import io
import json
import shutil

import msgspec
import pytest
from rich.console import Console
from tests.sample_report import attacks

from hidemia.benchmarks import assembly, bench
from hidemia.benchmarks.attacks import command
from hidemia.benchmarks.cost import networks
from hidemia.benchmarks.groups import Group
from hidemia.benchmarks.report import document, markdown, page
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import DataError
from hidemia.training.invertible import InvertibleHider

TARGETS = [
    "hide_fp32_ort", "hide_fp32_best", "hide_int8_best", "modc_vs_branches", "modc_vs_plain", "peak_share",
    "trip_overhead", "batch8", "startup_s", "startup_mib", "trt_fp16",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, exported):
    """The command on a model small enough: one group of rivals, one network, one round of each."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(exported / "weights", folder / "weights")
    shutil.copytree(exported / "bundles", folder / "micro")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "QUICK_ROUNDS", 1)
        patch.setattr(bench, "IMAGES", 1)
        patch.setattr(assembly, "groups", lambda _: [Group("recover", 1, 1, 1)])
        small = networks.of_hider("LightIH", InvertibleHider(blocks=1, growth=4), 16)
        patch.setattr(networks, "networks", lambda _: [small])
        parts = ("--client", str(folder / "micro" / "client"), "--server", str(folder / "micro" / "server"))
        call = ["--quick", "--out", str(folder / "out"), "--weights", str(folder / "weights"), *parts]
        assert bench.bench(call) == 0
        yield folder / "out", call


@pytest.fixture(scope="module")
def report(run):
    return document.read(run[0] / "report.json")


def test_every_row_is_there_once(run):
    rows = json.loads((run[0] / "report.json").read_text())["targets"]
    assert [row["id"] for row in rows] == TARGETS
    for row in rows:
        assert {"id", "target", "measured", "unit", "holds"} <= set(row) <= {*row, "reason"}
        assert (row["measured"] is None) == (row["holds"] is None) == ("reason" in row)
        assert row["measured"] is None or row["measured"] > 0


def test_the_report_says_how_and_where(report):
    assert report.method.rounds == 1
    assert report.environment.threads >= 1
    assert {"hidemia", "onnxruntime", "numpy", "torch"} <= set(report.environment.versions)
    assert [limit.threads for limit in report.limits] == [1]


def test_every_rival_was_run_or_says_why_not(run, report):
    client = Bundle.open(run[0].parent / "micro" / "client")
    graphs = {(g.path, engine) for g in client.manifest.graphs if g.verb == "recover" for engine in g.backends}
    assert {("recover.fp32.tiled.onnx", "onnxruntime"), ("recover.fp32.onnx", "openvino")} <= graphs
    rivals = {(row.graph or row.rival, row.backend): row for row in report.timings}
    assert set(rivals) == graphs | {(f"PyTorch {way}", "torch") for way in ("eager", "channels-last", "compiled")}
    for (name, engine), row in rivals.items():
        if engine == "tensorrt" or name in ("PyTorch compiled", "PyTorch channels-last"):
            assert not row.times_ms
            assert "GPU" in row.reason or "--quick" in row.reason
            continue
        assert not row.reason
        assert len(row.times_ms) == 1
        assert row.agreement.identical_share > 0.99
        assert row.agreement.largest < 0.05
        assert row.load_ms > 0
        assert row.first_ms > 0
        assert 10 < row.resident_mib <= row.peak_mib < 4000
    assert rivals["PyTorch eager", "torch"].agreement.largest == 0


def test_a_trip_is_accounted_for(report):
    assert [stage.name for stage in report.stages][:4] == ["read the scan", "scale", "cover", "hide"]
    assert all(len(stage.times_ms) == 1 for stage in report.stages)
    assert all(stage.times_ms[0] > 0 for stage in report.stages if stage.name not in ("queue", "HTTP", "rest"))


def test_page_and_markdown_are_those_of_the_json(run, report):
    folder, _ = run
    assert sorted(file.name for file in folder.iterdir()) == ["parts", "report.html", "report.json", "report.md"]
    assert (folder / "report.md").read_text() == markdown.render(report)
    assert (folder / "report.html").read_text() == page.render(report)
    assert (folder / "report.json").read_bytes() == document.encode(report)


def test_going_on_measures_nothing_again(run, monkeypatch, capsys):
    folder, call = run
    before = (folder / "report.json").read_bytes()
    monkeypatch.setattr(bench, "measure", lambda _: pytest.fail("measured again"))
    assert bench.bench([*call, "--resume", "--compare", str(folder / "report.json")]) == 0
    assert (folder / "report.json").read_bytes() == before
    assert "nothing moved beyond its noise" in capsys.readouterr().out


def test_files_to_be_read_are_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "assemble", lambda *_: pytest.fail("measured"))
    (tmp_path / "old.json").write_text('{"targets": []}')
    for option, name, why in (
        ("--compare", "old.json", "not a valid report"),
        ("--compare", "none.json", "No such file"),
        ("--attacks", "old.json", "missing required field"),
        ("--attacks", "none.json", "No such file"),
    ):
        with pytest.raises(DataError, match=why) as caught:
            bench.bench([option, str(tmp_path / name)])
        assert "\n" not in str(caught.value)


def test_images_and_covers_go_together(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.bench(["--data", "here"])
    assert ended.value.code == 2
    assert "--data and --covers go together" in capsys.readouterr().err


def test_what_attackers_found_is_shown(run, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(run[0], folder)
    call = [*run[1], "--resume", "--out", str(folder), "--attacks", str(tmp_path / "attacks.json")]
    command.write(attacks(), tmp_path / "attacks.json")
    with pytest.raises(DataError, match="expected attacks on micro, got some on "):
        bench.bench(call)
    command.write(attacks(hider="micro"), tmp_path / "attacks.json")
    assert bench.bench(call) == 0
    report = json.loads((folder / "report.json").read_bytes())
    assert report["attacks"]["exposures"][0]["attack"] == "theft"
    assert "theft" in (folder / "report.md").read_text()
    assert "attacks" not in report["absent"]


def test_a_regression_is_told_and_fails(report, capsys):
    slower = [msgspec.structs.replace(row, times_ms=[3 * ms for ms in row.times_ms]) for row in report.timings]
    assert bench.compared(report, msgspec.structs.replace(report, timings=slower)) == 1
    assert "REGRESSION recover, recover.fp32.onnx, openvino, batch 1, 1 threads" in capsys.readouterr().out
    assert bench.compared(msgspec.structs.replace(report, timings=slower), report) == 0


def test_an_unsteady_run_says_so(report):
    def printed(unsteadiness):
        console = Console(file=io.StringIO(), width=200)
        limits = [msgspec.structs.replace(limit, unsteadiness=unsteadiness) for limit in report.limits]
        bench.show(msgspec.structs.replace(report, limits=limits), console)
        return console.file.getvalue()

    assert "not steady" in printed(1.5)
    assert "not steady" not in printed(1.1)
    assert "startup_mib" in printed(1.1)
