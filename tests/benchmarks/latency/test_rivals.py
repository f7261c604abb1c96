from pathlib import Path

import numpy as np
import pytest

from hidemia.benchmarks import contenders
from hidemia.benchmarks.latency import rivals, worker


def test_without_a_compiler_there_is_a_row_that_says_so(monkeypatch):
    monkeypatch.setattr(rivals.shutil, "which", lambda _: None)
    ways = {rival.way: rival.reason for rival in rivals.of_torch(Path("w"), "hide", 1, 1, quick=False)}
    assert ways.pop("compiled") == "torch.compile needs a C++ compiler, and there is none"
    assert ways == {"eager": "", "channels-last": ""}
    monkeypatch.setattr(rivals.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert not any(rival.reason for rival in rivals.of_torch(Path("w"), "hide", 1, 1, quick=False))


@pytest.mark.parametrize(
    ("batch", "left"), [(1, ["channels-last", "compiled"]), (8, ["eager", "channels-last", "compiled"])]
)
def test_a_quick_report_leaves_most_of_pytorch_out(batch, left):
    found = rivals.of_torch(Path("w"), "analyze", batch, 1, quick=True)
    assert [rival.way for rival in found if rival.reason] == left


@pytest.mark.parametrize(("verb", "names"), [
    ("hide", ["LightIH", "HiNet", "DeepStega", "HiDDeN"]), ("recover", ["LightIH", "HiNet", "DeepStega", "HiDDeN"]),
])  # fmt: skip
def test_every_hider_of_the_papers_runs_between_the_photos_of_a_trip(verb, names):
    exports = dict(rivals.paper_exports(verb, 32))
    assert list(exports) == names
    photos = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    for name, data in exports.items():
        run = contenders.in_onnxruntime(data, dict.fromkeys(worker.INPUTS[verb], photos), 1)
        (output,) = run()
        assert output.shape == ((1, 32, 32, 3) if verb == "hide" else (1, 32, 32)), name
    rows = rivals.of_paper(dict.fromkeys(names, Path("f")), verb, 2)
    assert [(row.name, row.paper, row.trained) for row in rows] == [(name, True, False) for name in names]


def test_plain_convolutions_are_not_held_against_the_trained_network():
    rows = rivals.of_files({"six branches": Path("a"), "plain convolutions": Path("b")}, "analyze", 1)
    assert {row.name: row.trained for row in rows} == {"six branches": True, "plain convolutions": False}


def test_batches_are_measured_in_one_way_of_pytorch():
    assert [rival.way for rival in rivals.of_torch(Path("w"), "hide", 8, 1, quick=False)] == ["eager"]
