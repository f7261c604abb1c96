"""What is run as a module refuses as a verb does: one line that begins with what was typed, and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.standins.bundles import make_bundle

from hidemia.benchmarks import (
    budgets,
    card,
    compare,
    determinism,
    device,
    forms,
    gpu,
    integrity,
    plain_network,
    precision,
)
from hidemia.export import sensitivity
from hidemia.training import thresholds
from hidemia.training.errors import one_line

MODULES = (
    budgets, card, compare, determinism, device, forms, gpu, integrity, plain_network, precision, sensitivity,
    thresholds,
)  # fmt: skip
PAIR = ("--client", "client", "--server", "server")
IMAGES = ("--data", "none", "--covers", "none")
DOCS = str(Path(__file__).parents[2] / "docs")
WEIGHTS = str(Path(__file__).parents[2] / "weights" / "busi")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "client", "client")
    make_bundle(tmp_path / "server", "server")
    Path("photos").mkdir()
    Path("page.md").write_text("no marks\n")
    return tmp_path


def refused(module, arguments, capsys) -> tuple[int, str]:
    code = module.main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert error.startswith(f"{module.PROG}: ")
    assert error.count("\n") == 1
    return code, error


@pytest.mark.parametrize(
    ("module", "arguments", "code", "why"),
    [
        (thresholds, ("--weights", "none", *IMAGES), 1, "expected a trained model, found no config.json"),
        (thresholds, ("--weights", WEIGHTS, *IMAGES), 2, "none: expected"),
        (sensitivity, ("--weights", "none", *IMAGES), 1, "expected a trained model, found no config.json"),
        (integrity, (*PAIR, *IMAGES), 2, "none: expected"),
        (integrity, ("--client", "none", "--server", "server", *IMAGES), 2, "none: expected a client bundle"),
        (integrity, (*PAIR, *IMAGES, "--page", "none.md"), 2, "none.md: expected a page with marks"),
        (integrity, (*PAIR, *IMAGES, "--page", "page.md"), 2, "page.md: expected a page with marks"),
        (integrity, (*PAIR, *IMAGES, "--engine", "mine"), 2, "expected one of onnxruntime"),
        (forms, ("--weights", WEIGHTS, "--docs", "none"), 2, "modc.md: expected a page with marks"),
        (forms, ("--docs", DOCS), 2, "run it from a clone of the repository, or give --weights DIR"),
        (precision, ("--client", "none", "--server", "none"), 2, "none: expected a client bundle"),
        (precision, (*PAIR, *IMAGES), 2, "none: expected"),
        (plain_network, ("--weights", "none", "--data", "none"), 1, "expected a plain network"),
        (compare, ("none.json",), 2, "none.json: expected figures as JSON"),
        (budgets, ("page.md",), 2, "page.md: expected a page with marks"),
        (device, ("mine",), 2, "expected one of onnxruntime"),
        (card, (), 2, "README.md: expected a page with marks"),
        (gpu, ("--data", "none"), 2, "--data and --covers go together; see python -m hidemia.benchmarks.gpu --help"),
    ],
)
def test_a_mistake_is_one_line(module, arguments, code, why, capsys):
    got, error = refused(module, arguments, capsys)
    assert got == code
    assert why in error


def test_a_split_without_images_or_covers(folder, capsys):
    (folder / "data").mkdir()
    (folder / "data" / "index.csv").write_text("image,mask,label,split,group\na.png,b.png,,val,\n")
    with_data = ("--data", folder / "data", "--covers", folder / "photos")
    for module, first in ((integrity, PAIR), (precision, PAIR), (thresholds, ("--weights", WEIGHTS))):
        code, error = refused(module, (*first, *with_data), capsys)
        assert code == 2
        assert "none" in error or "missing" in error
    code, error = refused(integrity, (*PAIR, *with_data, "--split", "mine"), capsys)
    assert (code, "expected images of split 'mine', got only val" in error) == (2, True)
    (folder / "photos" / "index.csv").write_text("image,split\na.png,val\n")
    code, error = refused(integrity, (*PAIR, *with_data), capsys)
    assert (code, "got 1 covers and 1 images; change --covers-per-image" in error) == (2, True)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_help_is_short_and_names_what_is_typed(module, capsys):
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"usage: {module.PROG} ")
    assert f"python -m {module.__name__}" == module.PROG
    text = "\n".join(lines)
    assert not {"Args:", "Raises:", "``"} & set(text.split())
    first, second = lines.index(""), lines.index("", lines.index("") + 1)
    assert second - first <= 3, "the description is a sentence"


def test_a_bug_keeps_its_traceback():
    @one_line("x")
    def broken(_):
        raise KeyError("x")

    with pytest.raises(KeyError):
        broken([])


def test_in_a_process_of_its_own(folder):
    done = subprocess.run(
        [sys.executable, "-m", "hidemia.benchmarks.budgets", "page.md"],
        check=False, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("python -m hidemia.benchmarks.budgets: page.md: expected a page with marks")
    assert done.stderr.count("\n") == 1
