from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import cv2
import numpy as np
import pytest

from hidemia.runtime import ImageError, cli


class OtherLayerError(Exception):
    exit_code = 7


def fail(error: BaseException):
    def verb(arguments):
        raise error

    return verb


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a verb that is this function, and return the exit code and the error output."""

    def run(verb, module: str = "hidemia.training.command") -> tuple[int, str]:
        entry = EntryPoint("work", f"{module}:work", cli.GROUP)
        monkeypatch.setattr(EntryPoint, "load", lambda self: verb)
        monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
        code = cli.main(["work", "x"])
        return code, capsys.readouterr().err

    return run


def test_no_verb_lists_them(capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    for entry in entry_points(group=cli.GROUP):
        assert entry.name in out
    assert cli.main(["--help"]) == 0


def test_unknown_verb(capsys):
    assert cli.main(["fly"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hidemia: 'fly': expected one of analyze, ")


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hidemia 0.")


def test_exit_codes_pass_through(run):
    assert run(lambda arguments: 0) == (0, "")
    assert run(lambda arguments: 1) == (1, "")
    assert run(len) == (1, "")  # of ["x"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ImageError("x: bad\n indeed"), (2, "hidemia work: x: bad\\n indeed\n")),
        (OtherLayerError("from another\n  layer"), (7, "hidemia work: from another layer\n")),
        (KeyboardInterrupt(), (130, "hidemia work: interrupted\n")),
        (
            OSError(28, "No space left on device", "x"),
            (1, "hidemia work: [Errno 28] No space left on device: 'x'\n"),
        ),
        (SystemExit(2), (2, "")),
        (SystemExit(), (0, "")),
        (SystemExit("a reason"), (1, "hidemia work: a reason\n")),
    ],
)
def test_errors_are_one_line(run, error, expected):
    assert run(fail(error)) == expected


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("hidemia.training.command", "train"),
        ("hidemia.export.command", "export"),
        ("hidemia.benchmarks.command", "bench"),
        ("hidemia.runtime.serving", "server"),
    ],
)
def test_a_missing_package_names_its_extra(run, module, extra):
    error = ModuleNotFoundError("No module named 'torch'", name="torch")
    assert run(fail(error), module) == (
        1,
        f"hidemia work: expected the package torch, got none; pip install 'hidemia[{extra}]'\n",
    )


def test_a_bug_keeps_its_traceback(run):
    with pytest.raises(ZeroDivisionError):
        run(fail(ZeroDivisionError()))


def test_the_command_loads_only_its_verb():
    code = (
        "import sys; from hidemia.runtime import cli; assert cli.main(['hide']) == 2; "
        "bad = {'torch', 'onnx', 'onnxruntime', 'starlette', 'uvicorn', 'hidemia.training'}; "
        "assert not bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_decoders_add_no_lines_of_their_own(tmp_path, suffix):
    """OpenCV and the libraries in it write to the process's own error output, which only a process shows."""
    image = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    whole = cv2.imencode(suffix, image)[1].tobytes()
    damaged = bytearray(whole)
    damaged[400:-50:37] = bytes(len(damaged[400:-50:37]))
    cover = tmp_path / "cover.png"
    cover.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    code = "import sys; from hidemia.runtime.cli import main; sys.exit(main(sys.argv[1:]))"
    for number, data in enumerate((whole[: len(whole) // 2], whole[:-3], bytes(damaged))):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(data)
        line = ["hide", "--client", "none", "--secret", str(path), "--cover", str(cover), "--out", "x.png"]
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_help_of_every_verb_of_this_layer(capsys):
    for verb in ("hide", "analyze", "recover", "send", "serve", "doctor", "sign"):
        assert cli.main([verb, "--help"]) == 0
        assert capsys.readouterr().out.startswith(f"usage: hidemia {verb}")
