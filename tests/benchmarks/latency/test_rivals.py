from pathlib import Path

import pytest

from hidemia.benchmarks.latency import rivals


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
