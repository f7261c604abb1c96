from __future__ import annotations

import json
import shutil
import stat

import cv2
import numpy as np
import pytest

from hidemia.runtime import cli, png


@pytest.fixture
def desk(tmp_path, model, tiny, rng, monkeypatch):
    """A working folder with bundles, a secret and a cover; the commands run in it."""
    shutil.copytree(model.client, tmp_path / "client")
    shutil.copytree(model.server, tmp_path / "server")
    cv2.imwrite(str(tmp_path / "secret.png"), tiny.secret(90, 120))
    cv2.imwrite(str(tmp_path / "cover.png"), tiny.photo(rng, 100, 80)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hidemia(capfd):
    """Run a command line in this process; returns the exit code and the error output without warnings."""

    def hidemia(line: str) -> tuple[int, list[str]]:
        code = cli.main(line.split())
        return code, [text for text in capfd.readouterr().err.splitlines() if "WARNING" not in text]

    return hidemia


HIDE = "hide --client client --secret secret.png --cover cover.png --out stego.png"
ANALYZE = "analyze --server server stego.png --out reply.png"
SEND = "send --client client --url http://127.0.0.1:9 --secret secret.png"
RECOVER = "recover --client client --sent stego.png reply.png --out"


@pytest.fixture
def walked(desk, hidemia):
    for line in (HIDE, ANALYZE):
        assert hidemia(line) == (0, [])
    return desk


def test_hide_analyze_recover(walked, hidemia, tiny):
    assert hidemia(f"{RECOVER} mask.png --size 120x90") == (0, [])
    mask = cv2.imread("mask.png", cv2.IMREAD_UNCHANGED)
    assert mask.shape == (90, 120)
    assert set(np.unique(mask)) == {0, 255}
    assert np.mean((mask > 0) == (tiny.secret(90, 120)[..., 0] > 128)) > 0.95
    assert png.decode((walked / "stego.png").read_bytes()).shape == (64, 64, 3)
    assert not list(walked.glob(".*"))  # no temporary file stays


def test_json(walked, hidemia):
    assert hidemia(f"{RECOVER} result.json") == (0, [])
    content = json.loads((walked / "result.json").read_text())
    assert content["task"] == "segmentation"
    assert content["classes"] == ["lesion"]
    assert content["size_px"] == [64, 64]
    assert 0.1 < content["mask_share"] < 0.3
    assert content["integrity"]["psnr_db"] > 40
    assert 0 < content["integrity"]["low_change"] < 3
    assert content["integrity"]["seal_share"] is content["integrity"]["seal_strength"] is None  # this model writes none
    first = (walked / "result.json").read_bytes()
    hidemia(f"{RECOVER} result.json")
    assert (walked / "result.json").read_bytes() == first


def test_json_says_how_sure_it_is(walked, hidemia, tiny, model):
    (walked / "sealed").mkdir(mode=0o700)
    tiny.seal(model, walked / "sealed", 0.1)
    assert hidemia(f"{RECOVER.replace('--client client', '--client sealed')} result.json") == (0, [])
    integrity = json.loads((walked / "result.json").read_text())["integrity"]
    assert 0.1 < integrity["seal_share"] < 0.5
    assert 0.1 < integrity["seal_strength"] < 0.5


def test_classification(walked, hidemia, tiny):
    tiny.make_model(walked / "two", classes=2)
    line = RECOVER.replace("--client client", "--client two/client")
    assert hidemia(f"{line} result.json") == (0, [])
    content = json.loads((walked / "result.json").read_text())
    assert content["label"] == "benign"
    assert sum(content["probabilities"]) == pytest.approx(1, abs=1e-5)
    code, (text,) = hidemia(f"{line} result.png")
    assert code == 2
    assert text.endswith("expected .json for a classification, which has no mask, got .png")


def test_the_same_cover_again(walked, hidemia, tiny):
    first = (walked / "stego.png").read_bytes()
    assert hidemia(HIDE) == (0, [])  # the same secret: a retry
    assert (walked / "stego.png").read_bytes() == first
    cv2.imwrite("secret.png", tiny.secret(90, 120) // 2)
    code, (line,) = hidemia(HIDE)
    assert code == 1
    assert line.startswith("hidemia hide: cover: expected one that was never used, got one that already carries")
    assert (walked / "stego.png").read_bytes() == first
    assert hidemia(HIDE + " --allow-reuse") == (0, [])


def spoil(desk, tiny):
    """Everything a new user might try."""
    whole = (desk / "stego.png").read_bytes()
    (desk / "text.png").write_text("not an image\n")
    (desk / "cut.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite("stego.jpg", cv2.imread("stego.png"))
    cv2.imwrite("dot.png", np.zeros((3, 3, 3), np.uint8))
    cv2.imwrite("odd.png", np.zeros((65, 63, 3), np.uint8))
    (desk / "huge.png").write_bytes(tiny.png(20000, 20000, raw=b"\0"))
    cv2.imwrite("clear.png", np.zeros((64, 64, 4), np.uint8))
    cv2.imwrite("grey.png", np.zeros((64, 64), np.uint8))
    flipped = desk / "flipped"
    shutil.copytree(desk / "client", flipped)
    data = bytearray((flipped / "hide.fp32.onnx").read_bytes())
    data[99] ^= 4
    (flipped / "hide.fp32.onnx").write_bytes(data)
    cv2.imwrite("other.png", np.roll(cv2.imread("reply.png"), 20, axis=0))
    (desk / "empty").mkdir()


CASES = [
    (
        HIDE.replace("secret.png", "text.png"),
        2,
        "text.png: expected a PNG, JPEG, BMP or TIFF image, got text; check the file",
    ),
    (
        HIDE.replace("secret.png", "none.png"),
        2,
        "none.png: expected an image file, got no such file; check the path",
    ),
    (
        HIDE.replace("cover.png", "cut.png"),
        2,
        "cut.png: expected a whole PNG, got a damaged one (it ends inside a chunk); copy or send it again",
    ),
    (
        HIDE.replace("secret.png", "dot.png"),
        2,
        "dot.png: expected at least 32 px a side, got 3x3; use a larger image",
    ),
    (
        HIDE.replace("cover.png", "huge.png"),
        2,
        "huge.png: expected at most 16384 px a side and 100000000 pixels, got 20000x20000; use a",
    ),
    (
        HIDE.replace("secret.png", "clear.png"),
        2,
        "clear.png: expected an opaque image, got one with transparent pixels; flatten it first",
    ),
    (
        HIDE.replace("--client client", "--client server"),
        2,
        "server: expected a client bundle, got a server bundle; name the client folder",
    ),
    (
        HIDE.replace("--client client", "--client empty"),
        2,
        "empty: expected a client bundle, got no manifest.json; name the folder that holds it",
    ),
    (HIDE.replace("--client client", "--client flipped"), 1, "flipped/hide.fp32.onnx: expected SHA-256 "),
    (
        HIDE.replace("stego.png", "stego.jpg"),
        2,
        "--out stego.jpg: expected a name that ends in .png, got .jpg; rename it",
    ),
    (
        HIDE.replace("stego.png", "nowhere/stego.png"),
        2,
        "--out nowhere/stego.png: expected an existing folder, got nowhere; make it first",
    ),
    (
        ANALYZE.replace("stego.png", "stego.jpg"),
        2,
        "stego.jpg: expected a PNG, got a JPEG, which destroys what is hidden; send it as PNG",
    ),
    (
        ANALYZE.replace("stego.png", "cut.png"),
        2,
        "cut.png: expected a whole PNG, got a damaged one (it ends inside a chunk); copy or send it again",
    ),
    (
        ANALYZE.replace("stego.png", "odd.png"),
        2,
        "stego: expected a uint8 array (64, 64, 3) in RGB, got uint8 (65, 63, 3); pass it exactly as it",
    ),
    (
        ANALYZE.replace("stego.png", "grey.png"),
        2,
        "grey.png: expected an 8-bit RGB PNG, got 8-bit grey; pass it exactly as it was made",
    ),
    (
        ANALYZE.replace("stego.png", "clear.png"),
        2,
        "clear.png: expected an 8-bit RGB PNG, got 8-bit RGBA; pass it exactly as it was made",
    ),
    (
        ANALYZE.replace("stego.png", "huge.png"),
        2,
        "huge.png: expected at most 4096 px a side and 16777216 pixels, got 20000x20000; use a smaller image",
    ),
    (
        ANALYZE.replace("--server server", "--server client"),
        2,
        "client: expected a server bundle, got a client bundle; name the server folder",
    ),
    (
        "serve --server client",
        2,
        "client: expected a server bundle, got a client bundle; name the server folder",
    ),
    (
        RECOVER.replace("reply.png", "stego.png") + " x.png",
        1,
        "reply: expected a photo that differs from the one sent, got the same photo; the server did not",
    ),
    (
        RECOVER.replace("reply.png", "other.png") + " x.png",
        1,
        "reply: expected at least 30.0 dB against the photo sent",
    ),
    (
        RECOVER + " x.tiff",
        2,
        "--out x.tiff: expected a name that ends in .png or .json or .dcm, got .tiff; rename it",
    ),
    (RECOVER + " x", 2, "--out x: expected a name that ends in .png or .json or .dcm, got no suffix; rename it"),
    (
        RECOVER + " x.png --size 9",
        2,
        "argument --size: expected WIDTHxHEIGHT in px, got '9'; see hidemia recover --help",
    ),
    (
        SEND + " --covers empty --out x.png",
        2,
        "empty: expected photos as covers, got none; add some",
    ),
    (
        "send --client client --url http://10.0.0.1 --secret secret.png --covers . --out x.png",
        2,
        "url: expected https for another machine, got http://10.0.0.1; covertness is no encryption: use TLS",
    ),
    (
        SEND + " --covers . --out x.png --attempts 1",
        1,
        "http://127.0.0.1:9: expected an answer, got ConnectError ([Errno 111] Connection refused) in 1",
    ),
    (
        "send",
        2,
        "the following arguments are required: --url, --secret, --covers, --out; see hidemia send --help",
    ),
    (
        SEND + " --covers . --out x.dcm",
        2,
        "--out x.dcm: expected a DICOM file as the source of a DICOM result, got none; ask for .png or .json",
    ),
]


def test_each_mistake_gives_one_line_and_its_exit_code(walked, hidemia, tiny):
    spoil(walked, tiny)
    before = {path: path.read_bytes() for path in walked.iterdir() if path.is_file()}
    for line, code, message in CASES:
        got, lines = hidemia(line)
        assert len(lines) == 1, line
        assert lines[0].startswith(f"hidemia {line.split()[0]}: {message}"), line
        assert got == code, line
    assert {path: path.read_bytes() for path in walked.iterdir() if path.is_file()} == before


def test_odd_sizes_grey_and_opaque_alpha_just_work(desk, hidemia, tiny, rng):
    secret = tiny.secret(91, 33)
    for name, image in {
        "odd": secret,
        "grey": secret[..., 0],
        "rgba": np.dstack([secret, np.full((91, 33), 255, np.uint8)]),
        "deep": secret.astype(np.uint16) * 257,
    }.items():
        cv2.imwrite("secret.png", image)
        assert hidemia(HIDE.replace("stego.png", f"{name}.png")) == (0, [])
    stegos = {(desk / f"{name}.png").read_bytes() for name in ("odd", "grey", "rgba", "deep")}
    assert len(stegos) == 1  # one and the same secret


def test_send(desk, hidemia, service_url):
    (desk / "covers").mkdir()
    shutil.move("cover.png", "covers/a.png")
    line = f"send --client client --url {service_url} --secret secret.png --covers covers --out"
    assert hidemia(f"{line} mask.png") == (0, [])
    assert cv2.imread("mask.png", cv2.IMREAD_UNCHANGED).shape == (90, 120)
    assert hidemia(f"{line} result.json")[0] == 0
    assert json.loads((desk / "result.json").read_text())["size_px"] == [120, 90]


def test_tokens_come_from_files_or_the_environment(desk, hidemia, monkeypatch):
    line = f"{SEND} --covers . --out x.png --token-file"
    assert hidemia(f"{line} none")[1][0].startswith("hidemia send: --token-file none: expected a readable token")
    (desk / "token").write_text("\n")
    assert hidemia(f"{line} token") == (
        2,
        ["hidemia send: --token-file token: expected a token, got an empty file"],
    )
    assert hidemia(f"{line.removesuffix('--token-file')} --token s3cret")[0] == 2


def test_files_keep_the_users_permissions(desk, hidemia):
    hidemia(HIDE)
    (desk / "plain").write_text("")
    assert stat.S_IMODE((desk / "stego.png").stat().st_mode) == stat.S_IMODE((desk / "plain").stat().st_mode)


def test_a_failed_write_leaves_the_old_file(walked, hidemia, monkeypatch):
    before = (walked / "reply.png").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    code, lines = hidemia(ANALYZE)
    assert (code, lines) == (1, ["hidemia analyze: [Errno 28] No space left on device"])
    assert (walked / "reply.png").read_bytes() == before
    assert not list(walked.glob(".*"))
