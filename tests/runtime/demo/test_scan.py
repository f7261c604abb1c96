import csv
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hidemia.runtime.demo import lesion
from hidemia.runtime.demo.scan import envelope, main, simulate, write_dataset

SEEDS = range(10)


@pytest.fixture(scope="module")
def scans():
    return [simulate(seed) for seed in SEEDS]


def test_a_seed_gives_one_scan(scans):
    again = simulate(3)
    assert np.array_equal(again.image, scans[3].image)
    assert np.array_equal(again.mask, scans[3].mask)
    assert again.label == scans[3].label
    assert not np.array_equal(scans[3].image, scans[4].image)


def test_no_global_state():
    np.random.seed(1)  # noqa: NPY002  to see that it is not used
    first = simulate(5, 64)
    np.random.seed(2)  # noqa: NPY002
    assert np.array_equal(first.image, simulate(5, 64).image)


@pytest.mark.parametrize("size_px", [64, 224, 256, 500])
def test_form(size_px):
    scan = simulate(0, size_px)
    for plane in (scan.image, scan.mask):
        assert plane.dtype == np.uint8
        assert plane.shape == (size_px, size_px)
    assert set(np.unique(scan.mask)) == {0, 255}


def test_the_same_lesion_at_every_size():
    small, large = simulate(7, 112).mask, simulate(7, 448).mask
    scaled = cv2.resize(large, (112, 112), interpolation=cv2.INTER_AREA) > 127
    assert np.mean(scaled != (small > 0)) < 0.01


def test_the_truth_is_one_region_of_a_plausible_size_and_place(scans):
    for scan in scans:
        inside = (scan.mask > 0).astype(np.uint8)
        assert cv2.connectedComponents(inside)[0] == 2
        assert cv2.connectedComponents(1 - inside)[0] == 2, "a hole"
        assert 0.02 < inside.mean() < 0.32
    rows = [np.nonzero(scan.mask)[0].mean() / 224 for scan in scans]
    assert 0.2 < np.mean(rows) < 0.45


def test_both_kinds_occur():
    labels = [lesion.draw(np.random.default_rng(seed)).label for seed in range(300)]
    assert 70 < labels.count("malignant") < 140
    assert set(labels) == {"benign", "malignant"}


def test_the_lesion_is_darker_than_what_surrounds_it(scans):
    darker = []
    for scan in scans:
        inside = (scan.mask > 0).astype(np.uint8)
        ring = cv2.dilate(inside, np.ones((25, 25), np.uint8)) - inside
        darker.append(scan.image[ring > 0].mean() - scan.image[inside > 0].mean())
    assert min(darker) > 5
    assert np.median(darker) > 30


def test_brightness_is_that_of_scans(scans):
    grey = np.stack([scan.image for scan in scans])
    assert 65 < grey.mean() < 115
    assert 40 < grey.std() < 65
    assert np.mean(grey == 255) < 0.01


def test_speckle_is_fully_developed():
    """The envelope of many scatterers is Rayleigh distributed: its mean is 1.91 of its deviations."""
    level = np.zeros((256, 256), np.float32)
    heard = envelope(np.random.default_rng(0), level, level - 90, beam=1.5, pulse=1.3, focus=0.5)
    assert heard.mean() / heard.std() == pytest.approx(1.913, abs=0.06)
    assert np.mean(heard**2) == pytest.approx(1, abs=0.06)
    intensity = heard**2 / np.mean(heard**2)
    assert np.mean(intensity > 1) == pytest.approx(np.exp(-1), abs=0.03)


def test_the_beam_widens_away_from_the_focus():
    level = np.zeros((400, 256), np.float32)
    heard = envelope(np.random.default_rng(1), level, level - 90, beam=1.5, pulse=1.3, focus=0.0)

    def likeness(rows):
        part = heard[rows] - heard[rows].mean()
        return (part[:, 3:] * part[:, :-3]).mean() / part.var()

    assert likeness(slice(320, 400)) > likeness(slice(0, 80)) + 0.15


def test_a_data_folder(tmp_path):
    write_dataset(tmp_path / "new", 3, 9)
    with (tmp_path / "new" / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "mask", "label", "split", "group"]
    assert len(rows) == 3
    assert {row["split"] for row in rows} == {"train"}
    assert {row["label"] for row in rows} <= {"benign", "malignant"}
    assert len({row["group"] for row in rows}) == 3
    for row in rows:
        image = cv2.imread(str(tmp_path / "new" / row["image"]), cv2.IMREAD_UNCHANGED)
        mask = cv2.imread(str(tmp_path / "new" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert image.shape == mask.shape == (256, 256)
        assert set(np.unique(mask)) == {0, 255}


def test_a_data_folder_from_the_command_line(tmp_path):
    write_dataset(tmp_path / "a", 1, 4)
    command = [
        sys.executable,
        "-m",
        "hidemia.runtime.demo.scan",
        "--out",
        str(tmp_path / "b"),
        "--count",
        "1",
    ]
    subprocess.run([*command, "--seed", "4"], check=True)
    names = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(names) == 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(("options", "line"), [
    (["--count", "0"], "expected at least 1 and 0, got 0 and 0"),
    (["--seed", "-1"], "expected at least 1 and 0, got 500 and -1"),
])  # fmt: skip
def test_counts_that_make_no_folder(options, line, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path / "scans"), *options])
    assert stopped.value.code == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "scans").exists()


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path / "file"), "--count", "1"])
    assert stopped.value.code == 1
    assert "expected a folder that can be written" in capsys.readouterr().err
