"""Training as the machine sees it: a process that is killed, and two that train together."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from hidemia.training.data import Place, epoch_order

SCRIPT = Path(__file__).with_name("alone.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}


def curve(out: Path, stage: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / f"{stage}.jsonl").read_text().splitlines()]


def test_killed_by_the_system_and_resumed(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        return [sys.executable, str(SCRIPT), str(scans_folder), str(covers_folder), str(tmp_path / out)]

    process = subprocess.Popen(command("cut"), env=ENVIRONMENT)
    checkpoint = tmp_path / "cut" / "1-read.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()  # SIGKILL: nothing is told to stop
    assert process.wait() == -9, "it ended before it could be killed"
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 2 <= step < 30
    for out in ("cut", "whole"):
        subprocess.run(command(out), env=ENVIRONMENT, check=True)
    for stage in ("1-read", "2-distill_functions"):
        assert curve(tmp_path / "cut", stage) == curve(tmp_path / "whole", stage)
    for name in ("hider", "analyzer"):
        weights = [(tmp_path / out / "weights" / f"{name}.safetensors").read_bytes() for out in ("cut", "whole")]
        assert weights[0] == weights[1]


def test_two_processes_train_one_model(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(scans_folder), str(covers_folder), str(tmp_path / "out"), "2"]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=300)
    first, second = (torch.load(tmp_path / "out" / f"rank{rank}", weights_only=True) for rank in (0, 1))
    assert len(first["ends"]) == len(second["ends"]) == 2
    for a, b in zip(first["ends"], second["ends"], strict=True):
        for part in ("parameters", "average"):
            assert a[part].keys() == b[part].keys()
            for name, value in a[part].items():
                assert torch.equal(value, b[part][name]), name
    # Each saw images of its own, and both went back when one of them met what was not a number.
    assert len(first["seen"]) == len(second["seen"]) == 8 + 5 + 3
    assert first["seen"] != second["seen"]
    assert curve(tmp_path / "out", "1-read")[-1]["rollbacks"] == 1
    assert (tmp_path / "out" / "weights" / "config.json").is_file()


def test_processes_share_a_step_out() -> None:
    whole = [epoch_order(10, 0, step, 6).tolist() for step in range(5)]
    shares = [[epoch_order(10, 0, step, 3, Place(rank, 2)).tolist() for rank in (0, 1)] for step in range(5)]
    assert [first + second for first, second in shares] == whole
