import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest
from tests.micro import micro_config

from hidemia.benchmarks import plain_network
from hidemia.benchmarks.baselines import location_prior, nearest_thumbnails
from hidemia.benchmarks.command import evaluate
from hidemia.benchmarks.evaluate import CLOSENESS, Trips, covers_of, figures, scores
from hidemia.runtime import Client
from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import write_dataset
from hidemia.runtime.errors import DataError
from hidemia.training.data import read_scans
from hidemia.training.errors import DatasetError
from hidemia.training.index import group_of, read_rows
from hidemia.training.plain import PlainConfig, save_plain

KEYS = {
    "task", "n_images", "covers_per_image", "stego_psnr_db", "stego_psnr_min_db", "stego_ssim", "reply_psnr_db",
    "reply_psnr_min_db", "reply_ssim", "dsc", "asd_px", "control_identity", "control_other",
    "subtraction", "subtraction_other", "stego_luma_psnr_db", "reply_luma_psnr_db",
}  # fmt: skip
SAME = {name: [40.0] for name in CLOSENESS}


def test_covers_are_decided_by_the_name_alone():
    assert covers_of("images/a.png", 50, 5) == covers_of("images/a.png", 50, 5)
    assert covers_of("images/a.png", 50, 5) != covers_of("images/b.png", 50, 5)
    assert len(set(covers_of("images/a.png", 50, 5))) == 5
    assert sorted(covers_of("images/a.png", 3, 5)) == [0, 1, 2]


def test_figures_by_hand():
    ramp, flat = np.array([[3, 1], [3, 1]], np.float32), np.ones((2, 2), np.float32)
    full, left, none = np.ones((2, 2), bool), np.array([[1, 0], [1, 0]], bool), np.zeros((2, 2), bool)
    trips = Trips(
        truths=[full, left],
        masks=[[full, left], [left, none]],
        probabilities=[[full.astype(np.float32)] * 2] * 2,
        identity=[none.astype(np.float32), left.astype(np.float32)],
        apart=[[ramp, -ramp], [-ramp, flat]],
        stego_psnr_db=[40.0, 42.0, 44.0, 46.0],
        stego_ssim=[0.9, 1.0, 0.9, 1.0],
        reply_psnr_db=[30.0, 30.0, 30.0, 50.0],
        reply_ssim=[0.5] * 4,
        stego_luma_psnr_db=[45.0, 47.0] * 2,
        reply_luma_psnr_db=[41.0] * 4,
    )
    found = figures(trips, 0.5)
    assert found["dsc"] == pytest.approx(((1 + 2 / 3) / 2 + (1 + 0) / 2) / 2)
    assert found["control_other"] == pytest.approx(((2 / 3 + 1) / 2 + (2 / 3 + 0) / 2) / 2)
    assert found["control_identity"] == pytest.approx((0 + 1) / 2)
    # Of the left column in the second image 1, backwards, and 0; a full mask is everywhere, and follows nothing.
    assert found["subtraction"] == pytest.approx(((0 + 0) / 2 + (1 + 0) / 2) / 2)
    assert found["subtraction_other"] == pytest.approx(((1 + 1) / 2 + (0 + 0) / 2) / 2)
    assert (found["stego_psnr_db"], found["stego_psnr_min_db"]) == (43.0, 40.0)
    assert (found["reply_psnr_db"], found["reply_psnr_min_db"]) == (35.0, 30.0)
    assert (found["stego_luma_psnr_db"], found["reply_luma_psnr_db"]) == (46.0, 41.0)
    assert found["empty_masks"] == 1
    assert (found["n_images"], found["covers_per_image"]) == (2, 2)


def test_figures_of_a_classifier():
    right, wrong = np.array([0.9, 0.1], np.float32), np.array([0.2, 0.8], np.float32)
    first, second = np.float32([1] + [0] * 8), np.float32([0, 1] + [0] * 7)  # where it changed: the tile of a class
    trips = Trips(
        labels=[0, 1], probabilities=[[right, right], [wrong, right]], identity=[right, right],
        apart=[[first, second], [first, first]],
        **SAME,
    )  # fmt: skip
    found = figures(trips, None)
    assert found["accuracy"] == pytest.approx(0.75)
    assert found["control_identity"] == pytest.approx(0.5)
    assert found["subtraction"] == pytest.approx((0.5 + 1) / 2)  # by the tile that changed least
    assert "dsc" not in found


@pytest.fixture(scope="module")
def data(tmp_path_factory, exported):
    root = tmp_path_factory.mktemp("evaluate")
    write_dataset(root / "data", 6, seed=3)
    rows = (root / "data" / "index.csv").read_text().splitlines()
    splits = ["train"] * 3 + ["val"] + ["test"] * 2
    moved = [row.replace(",train,", f",{split},") for row, split in zip(rows[1:], splits, strict=True)]
    (root / "data" / "index.csv").write_text("\n".join([rows[0], *moved]) + "\n")
    (root / "covers" / "images").mkdir(parents=True)
    lines = ["image,mask,label,split,group"]
    for i in range(3):
        cv2.imwrite(str(root / "covers" / "images" / f"{i}.png"), photo(i, 80)[:, :, ::-1])
        lines.append(f"images/{i}.png,,,test,")
    (root / "covers" / "index.csv").write_text("\n".join(lines) + "\n")
    shutil.copytree(exported, root, dirs_exist_ok=True)
    return root


def arguments(root, *more):
    bundles = root / "bundles"
    return [
        "--client", str(bundles / "client"), "--server", str(bundles / "server"), "--data", str(root / "data"),
        "--covers", str(root / "covers"), *more,
    ]  # fmt: skip


def test_the_whole_verb(data, capsys):
    out = data / "figures.json"
    assert evaluate(arguments(data, "--split", "test", "--covers-per-image", "2", "--json", str(out))) == 0
    found = json.loads(out.read_text())
    assert found.keys() >= KEYS
    assert (found["n_images"], found["covers_per_image"], found["task"]) == (2, 2, "segmentation")
    assert found["control_identity"] == 0.0
    assert 0 <= found["dsc"] <= 1
    assert "stego_psnr_db" in capsys.readouterr().out


def test_another_image_may_be_of_another_class():
    """Rows lie class by class in many an index: the control must not compare with a neighbour of the same class."""
    labels = [0] * 50 + [1] * 50
    sure = [np.array([1.0, 0.0] if label == 0 else [0.0, 1.0], np.float32) for label in labels]
    trips = Trips(
        labels=labels, probabilities=[[one] for one in sure], identity=sure,
        apart=[[np.zeros(9, np.float32)]] * 100, **SAME,
    )  # fmt: skip
    found = figures(trips, None)
    assert found["accuracy"] == 1
    assert 0.35 < found["control_other"] < 0.65


def test_beside_the_plain_network(data, tmp_path):
    plain = PlainConfig("micro", "segmentation", tuple(micro_config().classes), 64, width=4, levels=1)
    save_plain(plain.build(), plain, tmp_path / "plain")
    out = tmp_path / "figures.json"
    call = arguments(data, "--split", "test", "--covers-per-image", "2", "--json", str(out))
    assert evaluate([*call, "--plain", str(tmp_path / "plain")]) == 0
    found = json.loads(out.read_text())
    scores = [row["score"] for row in found["per_image"]]
    assert np.mean(scores) == pytest.approx(found["dsc"])
    assert [row["group"] for row in found["per_image"]] == [group_of(row) for row in read_rows(data / "data", "test")]
    assert found["n_groups"] == 2
    assert found["lower_95"] <= found["dsc"] <= found["upper_95"]
    assert found["over_plain"] == pytest.approx(found["dsc"] - found["plain_dsc"])
    assert found["over_plain_lower_95"] <= found["over_plain"]
    alone = tmp_path / "plain.json"
    call = ["--weights", str(tmp_path / "plain"), "--data", str(data / "data"), "--split", "test", "--json", str(alone)]
    assert plain_network.main(call) == 0
    measured = json.loads(alone.read_text())
    assert (measured["dsc"], measured["asd_px"]) == (found["plain_dsc"], found["plain_asd_px"])
    scored = found["per_image"]
    own = [Client.load(data / "bundles" / "client").manifest, data / "data", "test"]
    assert plain_network.beside(alone, scored, *own) == {
        name: value for name, value in found.items() if "plain" in name
    }
    alone.write_text(json.dumps(measured | {"per_image": []}))
    assert plain_network.beside(alone, scored, *own) == {
        "plain_dsc": found["plain_dsc"],
        "plain_asd_px": found["plain_asd_px"],
    }
    with pytest.raises(DataError, match=r"plain\.json: expected figures with n_images 1, got 2; write them with"):
        plain_network.beside(alone, scored[:1], *own)
    with pytest.raises(DataError, match=r"plain\.json: expected figures with split val, got test; write them with"):
        plain_network.beside(alone, scored, *own[:2], "val")
    assert plain_network.main([*call[:1], str(tmp_path), *call[2:]]) == 1
    assert plain_network.main([*call, "--noise", "60"]) == 0
    loud = json.loads(alone.read_text())
    assert loud["dsc"] != measured["dsc"]
    save_plain(plain.build(), dataclasses.replace(plain, noise=60.0), tmp_path / "loud")
    shutil.copy(tmp_path / "plain" / "plain.safetensors", tmp_path / "loud")
    assert plain_network.main([*call[:1], str(tmp_path / "loud"), *call[2:]]) == 0
    assert json.loads(alone.read_text()) == loud
    with pytest.raises(SystemExit, match="2"):
        plain_network.main([*call, "--noise", "-1"])


def test_an_image_without_a_group_is_one_of_its_own():
    assert group_of({"image": "a.png", "group": "p"}) == "p"
    assert group_of({"image": "a.png", "group": ""}) == group_of({"image": "a.png"}) == "a.png"


def test_plain_network_of_another_task(data, tmp_path):
    plain = PlainConfig("other", "segmentation", ("background", "polyp"), 64, width=4, levels=1)
    save_plain(plain.build(), plain, tmp_path / "plain")
    with pytest.raises(
        DataError, match="expected a plain network for background, lesion, got one for background, polyp"
    ):
        evaluate(arguments(data, "--split", "test", "--covers-per-image", "1", "--plain", str(tmp_path / "plain")))


def test_plain_classifier(data, tmp_path):
    labels = {row["label"] for row in read_rows(data / "data", "test") + read_rows(data / "data", "train")}
    plain = PlainConfig("c", "classification", tuple(sorted(labels)), 64, width=4, levels=2)
    save_plain(plain.build(), plain, tmp_path / "plain")
    trips, config = plain_network.plain_travel(tmp_path / "plain", data / "data", "train")
    found = plain_network.plain_figures(trips, config)
    assert set(found) == {"accuracy", "balanced_accuracy", "auc"}
    assert found["accuracy"] == pytest.approx(np.mean(scores(trips, None)))


def test_an_empty_split_is_an_error(data):
    with pytest.raises(DatasetError, match="expected images of split 'nowhere'"):
        evaluate(arguments(data, "--split", "nowhere"))
    with pytest.raises(DatasetError, match="covers"):
        evaluate(arguments(data, "--split", "val"))  # there are no covers of that split


def test_an_unreadable_mask_is_named(data, tmp_path):
    shutil.copytree(data / "data", tmp_path / "data")
    row = next(r for r in (tmp_path / "data" / "index.csv").read_text().splitlines() if ",test," in r)
    (tmp_path / "data" / row.split(",")[1]).write_bytes(b"no image")
    wrong = arguments(data, "--split", "test")
    wrong[wrong.index("--data") + 1] = str(tmp_path / "data")
    with pytest.raises(DataError, match=row.split(",")[1]):
        evaluate(wrong)


def test_baselines(data):
    train, val = read_scans(data / "data", "train", True), read_scans(data / "data", "val", True)
    prior = location_prior(train, val)
    assert prior.shape == (256, 256)
    assert prior.any()
    assert nearest_thumbnails(train, train).tolist() == [0, 1, 2]
