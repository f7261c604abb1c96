"""What is installed is what git tracks."""

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("runtime", "training", "export", "benchmarks")


def tracked():
    listed = subprocess.run(["git", "ls-files", *LAYERS], cwd=ROOT, check=True, capture_output=True, text=True)
    return listed.stdout.splitlines()


def test_the_wheel_holds_what_git_tracks(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.fail("expected a git checkout: the comparison needs to know what is tracked")
    clean = tmp_path / "clean"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={clean}/"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(clean)],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("hidemia-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {f"hidemia/{name}" for name in tracked()}


def test_every_verb_points_at_something():
    verbs = {point.name: point.load() for point in entry_points(group="hidemia.commands")}
    assert set(verbs) >= {
        "demo", "hide", "analyze", "recover", "send", "serve", "evaluate", "export", "train", "doctor", "sign",
    }  # fmt: skip
    assert all(callable(verb) for verb in verbs.values())


def test_the_repository_stays_small():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    total = sum((ROOT / name).lstat().st_size for name in listed.splitlines())  # of a link, what it holds itself
    assert total < 45 * 2**20
