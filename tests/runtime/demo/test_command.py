import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hidemia.runtime import cli, defaults
from hidemia.runtime.demo.command import dice

MADE = {"secret.png", "cover.png", "stego.png", "reply.png", "result.png", "demo.png"}


def _call(capsys, *arguments):
    code = cli.main(["demo", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def bundles():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("uvicorn")
    if not (defaults.bundle("server") / "manifest.json").exists():
        pytest.skip("no default model in this tree")


@pytest.mark.parametrize("option", ["--secret", "--cover"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_bad_input_is_one_line(tmp_path, capsys, option, content):
    path = tmp_path / "image.png"
    if content is not None:
        path.write_bytes(content)
    code, out, err = _call(capsys, option, path, "--out", tmp_path / "out")
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert str(path) in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _, err = _call(capsys, "--out", tmp_path / "file")
    assert code == 2
    assert err.count("\n") == 1


def test_dice():
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 255
    assert dice(mask, mask) == 1
    assert dice(mask, 255 - mask) == 0
    assert dice(mask, np.full_like(mask, 255)) == pytest.approx(2 / 3)
    assert dice(mask * 0, mask * 0) == 1


@pytest.fixture
def tiny(model, monkeypatch):
    """The tests' own model in place of the default one."""
    pytest.importorskip("uvicorn")
    monkeypatch.setattr(defaults, "bundle", lambda role: getattr(model, role))
    return model


def _images(folder):
    rng = np.random.default_rng(0)
    for name, shape in (("scan.png", (90, 120)), ("photo.jpg", (300, 200, 3))):
        soft = cv2.GaussianBlur(rng.integers(0, 256, shape).astype(np.float32), (0, 0), 2)
        image = cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        cv2.imwrite(str(folder / name), image)
    return "--secret", folder / "scan.png", "--cover", folder / "photo.jpg"


def test_the_trip_with_a_server_process(tiny, tmp_path, capsys):
    code, out, err = _call(capsys, "--out", tmp_path / "a" / "b")
    assert (code, err) == (0, "")
    folder = tmp_path / "a" / "b"
    assert {path.name for path in folder.iterdir()} == MADE
    for word in ("stego", "reply", "PSNR", "SSIM", "Dice", str(folder / "demo.png")):
        assert word in out
    stego, reply = (cv2.imread(str(folder / name)).astype(int) for name in ("stego.png", "reply.png"))
    assert np.array_equal(reply, stego // 4 * 4 + 3 * (stego % 2)), "what the tests' server answers"
    assert set(np.unique(cv2.imread(str(folder / "result.png"), cv2.IMREAD_UNCHANGED))) <= {0, 255}


def test_the_trip_with_images_of_the_user(tiny, tmp_path, capsys):
    code, out, err = _call(capsys, *_images(tmp_path), "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == MADE
    assert "Dice" not in out


def test_a_server_that_does_not_start_is_one_line(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(defaults, "bundle", lambda _: tiny.client)
    code, out, err = _call(capsys, "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "server" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_sigterm_leaves_through_the_blocks_ends():
    # In a process of its own: a signal of this one would also reach the threads of whatever engines it has loaded.
    code = (
        "import signal\n"
        "from hidemia.runtime.demo.command import _stoppable\n"
        "with _stoppable():\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n"
        "        print('left')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGTERM, "left\n", "")


def test_the_default_model(bundles, tmp_path, capsys):
    code, out, err = _call(capsys, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == MADE
    assert float(out.split("Dice")[1].split()[0]) > 0.5
