"""The whole command on a model, photos and a budget small enough; its page, its way back, and its errors."""

import cv2
import msgspec
import pytest
from tests.micro import micro_config, micro_system
from tests.standins.bundles import SIZE, make_bundle

from hidemia.benchmarks.attacks import attack, command, page
from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.pages import END, begin
from hidemia.benchmarks.report.document import Attacks
from hidemia.runtime import cli
from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import write_dataset
from hidemia.training.weights import save_weights

TINY = Budget(
    per_cover=(2, 2, 2), seeds=2, learners=2, detector_steps=2, detector_pairs=2, crop_px=32, width=2,
    curve=(5, 8, 900),
    other_steps=2, other_batch=2, other_px=32, other_photos=5, leaked=(8,), inversion_steps=2, inversion_batch=2,
)  # fmt: skip
COVERS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("attacks")
    splits = ["train", "val", "test"]
    write_dataset(root / "data", 9, seed=3)
    rows = (root / "data" / "index.csv").read_text().splitlines()
    moved = [row.replace(",train,", f",{splits[n // 3]},") for n, row in enumerate(rows[1:])]
    (root / "data" / "index.csv").write_text("\n".join([rows[0], *moved]) + "\n")
    (root / "covers").mkdir()
    lines = ["image,mask,label,split,group"]
    for n in range(3 * COVERS):
        cv2.imwrite(str(root / "covers" / f"{n}.png"), photo(n, 64)[:, :, ::-1])
        lines.append(f"{n}.png,,,{splits[n // COVERS]},")
    (root / "covers" / "index.csv").write_text("\n".join(lines) + "\n")
    config = micro_config(image_size_px=SIZE)
    save_weights(micro_system(config), config, root / "weights", bits=16)
    for role in ("client", "server"):
        make_bundle(root / "bundles" / role, role)
    (root / "page.md").write_text(f"before\n{begin('attacks')}\n{END}\nafter\n")
    return root


def call(root, *more):
    return [
        "--data", str(root / "data"), "--covers", str(root / "covers"), "--weights", str(root / "weights"),
        "--client", str(root / "bundles" / "client"), "--server", str(root / "bundles" / "server"),
        "--out", str(root / "out"), "--engine", "onnxruntime", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "FULL", TINY)
        assert command.attacks(call(root, "--page", str(root / "page.md"), "--rival", str(root / "weights"))) == 0
    return msgspec.json.decode((root / "out" / "attacks.json").read_bytes(), type=Attacks)


def test_every_part_is_there(run):
    assert run.hider == "micro"
    assert {row.detector for row in run.detections} == {"classical", "convolutional"}
    assert all(len(row.error) == len(row.auc) == len(row.found) == 2 for row in run.detections)
    assert [(point.target, point.pairs) for point in run.learned[:4]] == [
        ("stego", 5), ("stego", 8), ("reply", 5), ("reply", 8),
    ]  # fmt: skip
    # A rival whose weights are given carries one secret in each cover; those that are trained here answer nothing.
    assert [(point.hider, point.target, point.pairs) for point in run.learned[4:]] == [
        ("rival 1, micro", "stego", 5), ("rival 1, micro", "reply", 5),
        ("hinet", "stego", 5), ("deepstega", "stego", 5), ("hidden", "stego", 5),
    ]  # fmt: skip
    assert {found.reveals for found in run.exposures} == {"secret", "result", "difference of the secrets"}
    assert len(run.exposures) == 6 + 2 + 3 + 2
    assert not run.absent
    assert all(f"{name}: stegos" in run.method[-2] for name in ("another training", "hinet", "deepstega", "hidden"))
    assert run.quick


def test_a_pair_is_trained_on_its_own_count(run):
    pairs = {(row.trained_on, row.pairs) for row in run.detections if row.detector == "classical"}
    assert ("stego", 2 * COVERS) in pairs
    assert ("LSB matching 0.4", COVERS) in pairs
    assert ("stego of another training", 5) in pairs
    assert ("cover against cover", COVERS // 2) in pairs


def test_the_page_shows_the_figures_between_its_marks(root, run):
    text = (root / "page.md").read_text()
    assert text.startswith(f"before\n{begin('attacks')}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "\n".join(page.lines(run)) in text
    assert "| controls |" in text
    assert "A quick try" in text
    assert "(page.png)" in text
    picture = cv2.imread(str(root / "page.png"))
    assert picture.std() > 10
    page.write(root / "page.md", run)
    assert (root / "page.md").read_text() == text


def test_going_on_makes_nothing_again(root, run, monkeypatch):
    before = (root / "out" / "attacks.json").read_bytes()
    monkeypatch.setattr(command, "FULL", TINY)
    for name in ("measure", "learned"):
        monkeypatch.setattr(attack.detection, name, lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(attack.exposures, "inverted", lambda *_: pytest.fail("trained again"))
    assert command.attacks(call(root, "--resume", "--rival", str(root / "weights"))) == 0
    assert (root / "out" / "attacks.json").read_bytes() == before


def test_what_time_was_too_short_for_is_absent_and_comes_with_the_next_run(root, run, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "FULL", TINY)
    short = call(root, "--budget", "0", "--rival", str(root / "weights"))
    short[short.index("--out") + 1] = str(tmp_path)
    assert command.attacks(short) == 0
    found = msgspec.json.decode((tmp_path / "attacks.json").read_bytes(), type=Attacks)
    assert not found.detections + found.learned + found.exposures + found.controls
    assert "--resume" in found.absent["classical, stego, seed 1"]
    assert "--resume" in found.absent["leaked results"]
    assert not any("another training" in sentence for sentence in found.method)
    assert "--resume" in found.absent["quality of hinet"]
    assert page.png(found)


def one_line(arguments, capsys):
    code = cli.main(["attacks", *arguments])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return code, error


def test_a_page_that_cannot_take_figures_is_refused_first(root, capsys, monkeypatch):
    monkeypatch.setattr(command, "attack", lambda *_, **__: pytest.fail("measured"))
    bare = root / "bare.md"
    bare.write_text("no marks\n")
    for name, why in ((bare, "expected a page with"), (root / "none.md", "No such file")):
        code, error = one_line(call(root, "--page", str(name)), capsys)
        assert code == 2
        assert why in error


def test_bad_input_is_one_line(root, capsys, tmp_path):
    config = micro_config()
    save_weights(micro_system(config), config, tmp_path / "weights", bits=16)
    code, error = one_line([*call(root), "--weights", str(tmp_path / "weights")], capsys)
    assert (code, "for 32 px, got some for 64 px" in error) == (2, True)
    code, error = one_line([*call(root), "--covers", str(tmp_path / "nothing")], capsys)
    assert (code, "no such folder" in error) == (2, True)
    code, error = one_line([*call(root), "--client", str(tmp_path)], capsys)
    assert (code, "manifest" in error) == (2, True)
