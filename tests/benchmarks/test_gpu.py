"""The check of a GPU, as far as a CPU goes: against stand-ins of TensorRT and CUDA."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tests.standins.bundles import make_bundle

from hidemia.benchmarks import gpu
from hidemia.benchmarks.gpu_times import Row


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    precisions = ("fp32", "fp16", "int8")
    client = make_bundle(tmp_path / "client", "client", precisions)
    server = make_bundle(tmp_path / "server", "server", precisions)
    return [
        "--client", str(client), "--server", str(server), "--out", str(tmp_path / "out"), "--images", "2",
        "--batches", "1,2", "--runs", "2",
    ]  # fmt: skip


def page(tmp_path) -> str:
    return (tmp_path / "out" / "verdict.md").read_text()


def test_the_verdict(each_machine, arguments, tmp_path, monkeypatch):
    # Random networks quantised at random lose more than a trained one may.
    monkeypatch.setattr(gpu, "LIMITS", {"fp32": (0.0, 1.0), "fp16": (0.1, 0.99), "int8": (60.0, 0.0)})
    assert gpu.main(arguments) == 0
    text = page(tmp_path)
    assert "**It holds.**" in text
    assert f"NVIDIA Test 4000, compute capability 8.9; TensorRT {each_machine.trt.__version__}" in text
    assert "| fp32 | +0.000 | +0.000 | 1.0000 | 0.0 dB, 1.0 | yes |" in text
    times = [line for line in text.splitlines() if "| TensorRT, " in line]
    # hide, recover and any at two batches, one at one; with, without copies and as a graph; in three precisions.
    assert len(times) == (3 * 2 + 1) * 3 * 3
    assert not list((tmp_path / "client").glob("plans"))


def test_a_precision_that_lost_too_much(machine, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LIMITS", {"fp32": (0.1, 0.99), "int8": (-100.0, 0.9)})
    assert gpu.main(arguments) == 1
    assert "**It does not hold.**" in page(tmp_path)
    assert "| NO |" in page(tmp_path)


def test_nothing_to_check(machine, arguments, tmp_path, capsys):
    machine.gpu.present = False
    assert gpu.main(arguments) == 1
    assert capsys.readouterr().out.startswith(f"{gpu.PROG}: nothing to check on this machine: plans: expected a GPU")
    assert not (tmp_path / "out").exists()


def test_the_command_on_a_machine_without_tensorrt(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hidemia.benchmarks.gpu"], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    if "got no package tensorrt" in done.stdout:
        assert (done.returncode, done.stderr) == (1, "")
    else:  # a developer's machine that has it
        assert done.returncode in (0, 1)


def test_rows():
    assert Row("hide", 2, "x", [4.0, 1.0, 2.0]).cells() == ["hide", "2", "x", "2.000", "3.800", "1.000"]
    assert Row("hide", 2, "x", [], "why").cells() == ["hide", "2", "x", "", "", "why"]


def test_dice():
    mask = np.array([True, True, False, False])
    assert gpu._dice(mask, ~mask) == 0.0
    assert gpu._dice(mask, mask) == 1.0
    assert gpu._dice(mask, np.array([True, False, False, False])) == pytest.approx(2 / 3)
    assert gpu._dice(mask & ~mask, mask & ~mask) == 1.0
