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


def test_the_whole_demo(bundles, tmp_path, capsys):
    code, out, err = _call(capsys, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == MADE
    for word in ("stego", "reply", "PSNR", "SSIM", "Dice", "demo.png"):
        assert word in out
    assert cv2.imread(str(tmp_path / "out" / "demo.png")).shape[1] == 1600


def test_the_demo_with_images_of_the_user(bundles, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, shape in (("scan.png", (90, 120)), ("photo.jpg", (300, 200, 3))):
        soft = cv2.GaussianBlur(rng.integers(0, 256, shape).astype(np.float32), (0, 0), 2)
        cv2.imwrite(str(tmp_path / name), cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8))
    code, out, _ = _call(
        capsys,
        "--secret",
        tmp_path / "scan.png",
        "--cover",
        tmp_path / "photo.jpg",
        "--out",
        tmp_path / "out",
    )
    # A network may refuse its own reply to noise; what must not happen is an answer without one of the two.
    assert code in {0, 1}
    assert "Dice" not in out
