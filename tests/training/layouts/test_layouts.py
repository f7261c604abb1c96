import contextlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hidemia.training.data import read_covers, read_scans
from hidemia.training.errors import DatasetError
from hidemia.training.index import _split_of, photo_rows, read_index, read_rows
from hidemia.training.layouts import LAYOUTS, layout_rows
from hidemia.training.layouts.chestct import CLASSES, SPLITS
from hidemia.training.layouts.copies import join_copies
from hidemia.training.layouts.dermamnist import CLASSES as SKIN
from hidemia.training.layouts.splits import draw_split
from hidemia.training.reading import images_below, read_mask

DISC = np.zeros((40, 48), np.uint8)
DISC[10:20, 10:20] = 255


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def refused(match: str, call, *arguments) -> None:
    with pytest.raises(DatasetError, match=match) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.fixture
def busi(tmp_path: Path, write) -> Path:
    folder = tmp_path / "Dataset_BUSI_with_GT"
    for label in ("benign", "malignant", "normal"):
        for i in range(1, 11):
            write(folder / label / f"{label} ({i}).png", noise(i + 100 * len(label)))
            write(folder / label / f"{label} ({i})_mask.png", DISC if label != "normal" else DISC * 0)
    write(folder / "benign" / "benign (1)_mask_1.png", DISC[::-1])
    return folder


@pytest.fixture
def kvasir(tmp_path: Path, write) -> Path:
    for i in range(10):
        write(tmp_path / f"Kvasir-SEG/images/cju{i:022d}.jpg", noise(i))
        write(tmp_path / f"Kvasir-SEG/masks/cju{i:022d}.jpg", DISC)
    return tmp_path / "Kvasir-SEG"


@pytest.fixture
def childdental(tmp_path: Path, write) -> Path:
    root = tmp_path / "Dental_dataset/Adult tooth segmentation dataset/Dataset and code"
    for split, count in (("train", 8), ("test", 2)):
        for i in range(count):
            write(root / split / "images" / f"{i}.png", noise(i))
            write(root / split / "masks" / f"{i}.png", DISC)
    return tmp_path / "Dental_dataset"


@pytest.fixture
def sipakmed(tmp_path: Path, write) -> Path:
    for name in ("im_Dyskeratotic", "im_Superficial-Intermediate"):
        for slide in range(1, 11):
            for cell in (1, 2):
                path = tmp_path / "cells" / name / name / "CROPPED" / f"{slide:03d}_{cell:02d}.bmp"
                write(path, noise(1000 * len(name) + 10 * slide + cell))
    return tmp_path / "cells"


@pytest.fixture
def dermamnist(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 14), ("val", 7), ("test", 7)):
        arrays[f"{split}_images"] = draw.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 7).astype(np.uint8)[:, None]
    np.savez(tmp_path / "dermamnist.npz", **arrays)
    return tmp_path


@pytest.fixture
def chestct(tmp_path: Path, write) -> Path:
    long = ["adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib", "large.cell.carcinoma_left.hilum_T2_N2_M0_IIIa", "normal",
            "squamous.cell.carcinoma_left.hilum_T1_N2_M0_IIIa"]  # fmt: skip
    short = ["adenocarcinoma", "large.cell.carcinoma", "normal", "squamous.cell.carcinoma"]
    for split in SPLITS:
        for name in short if split == "test" else long:
            for i in range(2):
                write(tmp_path / "Data" / split / name / f"00000{i} (3).png", noise(i))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "split", "labels"),
    [
        ("busi", {"train": 14, "val": 2, "test": 4}, {"benign": 10, "malignant": 10}),
        ("kvasir", {"train": 7, "val": 1, "test": 2}, {"": 10}),
        ("childdental", {"train": 7, "val": 1, "test": 2}, {"": 10}),
        ("sipakmed", {"train": 28, "val": 4, "test": 8}, {"dyskeratotic": 20, "superficial-intermediate": 20}),
        ("dermamnist", {"train": 14, "val": 7, "test": 7}, dict.fromkeys(SKIN, 4)),
        ("chestct", {"train": 8, "val": 8, "test": 8}, dict.fromkeys(CLASSES, 6)),
    ],
)  # fmt: skip
def test_as_downloaded(name: str, split: dict, labels: dict, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    segmentation = name in ("busi", "kvasir", "childdental")
    scans = read_scans(folder, "train", segmentation)
    assert len(scans.images) == split["train"]
    assert (scans.masks is not None) == segmentation
    rows = read_index(folder)
    assert Counter(row["split"] for row in rows) == split
    assert Counter(row["label"] for row in rows) == labels
    assert len({row["image"] for row in rows}) == len(rows)
    by_group = {(row["group"], row["split"]) for row in rows}
    assert len(by_group) == len({group for group, _ in by_group})  # no group on both sides
    # What was drawn is in a file, and the file is what counts from then on.
    index = folder / "index.csv"
    index.write_text(index.read_text().replace(",test,", ",kept,"))
    assert len(read_rows(folder, "kept")) == split["test"]


def test_masks_of_one_image_are_merged(busi: Path) -> None:
    row = next(row for row in read_index(busi) if row["image"] == "benign/benign (1).png")
    assert row["mask"] == "benign/benign (1)_mask.png|benign/benign (1)_mask_1.png"
    assert np.array_equal(read_mask(busi, row), np.maximum(DISC, DISC[::-1]))


def test_masks_of_two_sizes(busi: Path, write) -> None:
    write(busi / "benign/benign (1)_mask_1.png", DISC[:, :40])
    refused(r"benign \(1\)_mask_1\.png: expected 48x40 px", read_scans, busi, "train", True)


def test_the_folder_above_will_do(busi: Path, kvasir: Path, tmp_path: Path) -> None:
    assert {row["image"].split("/")[0] for row in layout_rows(tmp_path)} == {"Dataset_BUSI_with_GT"}


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("busi", "benign/benign (3)_mask.png"),
        ("kvasir", "masks/cju0000000000000000000004.jpg"),
        ("childdental", "masks/1.png"),
    ],
)
def test_missing_mask(name: str, missing: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    next(path for path in images_below(folder) if path.as_posix().endswith(missing)).unlink()
    image = missing.replace("masks", "images").replace("_mask", "").replace("(", r"\(").replace(")", r"\)")
    refused(rf"{image}: expected (its|a) mask", read_scans, folder, "train", True)
    assert not (folder / "index.csv").exists()


@pytest.mark.parametrize("name", ["busi", "sipakmed"])
def test_unreadable_image(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    path = next(path for path in images_below(folder) if "normal" not in str(path) and "mask" not in str(path))
    path.write_bytes(b"")
    refused(rf"{path.name.replace('(', '.').replace(')', '.')}: not an image", read_scans, folder, "train", False)


@pytest.mark.parametrize("name", ["sipakmed", "chestct"])
def test_class_without_images(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    directory = images_below(folder)[-1].parent
    for path in directory.iterdir():
        path.unlink()
    refused(f"{directory}: expected images of this class, found none", read_index, folder)


def test_damaged_archive(dermamnist: Path) -> None:
    (dermamnist / "dermamnist.npz").write_bytes(b"PK\x03\x04 cut short")
    refused(r"dermamnist\.npz: expected DermaMNIST's arrays", read_index, dermamnist)
    np.savez(dermamnist / "dermamnist.npz", train_images=np.zeros((1, 28, 28, 3), np.uint8))
    refused(r"dermamnist\.npz: expected DermaMNIST's arrays, got .*train_labels", read_index, dermamnist)


def test_pixels_of_an_archive(dermamnist: Path) -> None:
    with np.load(dermamnist / "dermamnist.npz") as arrays:
        expected = arrays["val_images"][3].repeat(2, axis=0).repeat(2, axis=1)
    rows = read_rows(dermamnist, "val")
    import cv2

    assert np.array_equal(cv2.imread(str(dermamnist / rows[3]["image"]))[:, :, ::-1], expected)
    assert rows[3]["label"] == "df"


def test_wrong_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    refused("found none, nor a layout that is known", read_index, tmp_path)
    with pytest.raises(DatasetError) as caught:
        read_index(tmp_path)
    for layout in LAYOUTS:
        assert layout.name in str(caught.value)
        assert layout.looks_for in str(caught.value)
    refused("found no such folder", read_index, tmp_path / "nowhere")
    refused("found a file", read_index, tmp_path / "notes.txt")


def test_images_and_masks_of_another_set(kvasir: Path) -> None:
    """A data set that has lost its index must not be split anew as if it were Kvasir-SEG."""
    for folder in ("images", "masks"):
        (kvasir / folder / f"cju{0:022d}.jpg").rename(kvasir / folder / "benign_001.jpg")
    refused("found none, nor a layout that is known", read_index, kvasir)


def test_folder_that_cannot_be_written(kvasir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", full)
    refused(r"index\.csv: Read-only file system; the split is kept there", read_index, kvasir)


# Splits and groups


def test_split_does_not_depend_on_the_order_of_files() -> None:
    rows = [{"image": f"{i}", "mask": "", "label": "ab"[i % 2], "group": f"{i}"} for i in range(200)]
    split = {row["image"]: row["split"] for row in draw_split(rows)}
    assert {row["image"]: row["split"] for row in draw_split(rows[::-1])} == split
    counts = Counter((rows[int(image)]["label"], name) for image, name in split.items())
    assert counts == {
        (label, name): count for label in "ab" for name, count in (("train", 70), ("val", 10), ("test", 20))
    }


def test_official_split_is_kept() -> None:
    rows = [{"image": str(i), "label": "", "split": "test" if i < 5 else "train", "group": str(i)} for i in range(45)]
    drawn = draw_split(rows)
    assert [row["split"] for row in drawn[:5]] == ["test"] * 5
    assert Counter(row["split"] for row in drawn) == {"test": 5, "val": 5, "train": 35}


def test_copies_are_one_group(tmp_path: Path, write) -> None:
    rows = []
    pictures = {"a": noise(1), "b": noise(2), "c": 255 - noise(1), "d": (noise(1) * 0.6 + 20).astype(np.uint8)}
    for name, picture in pictures.items():
        write(tmp_path / f"{name}.png", picture)
        rows.append({"image": f"{name}.png", "group": name})
    assert [row["group"] for row in join_copies(rows, tmp_path, 0.9)] == ["a", "b", "c", "a"]


# Photos without an index


def test_any_folder_of_photos(tmp_path: Path, write) -> None:
    for i in range(60):
        write(tmp_path / f"holiday {i % 3}" / f"{i}.jpg", noise(i))
    (tmp_path / "holiday 0" / "._0.jpg").write_bytes(b"a shadow")
    (tmp_path / "list.txt").write_text("not a photo")
    rows = {split: photo_rows(tmp_path, split) for split in ("train", "val", "test")}
    assert sum(map(len, rows.values())) == 60
    assert 38 <= len(rows["train"]) <= 56
    assert not {row["image"] for row in rows["train"]} & {row["image"] for row in rows["val"] + rows["test"]}
    before = {row["image"] for row in rows["val"]}
    write(tmp_path / "another.png", noise(0))
    assert before <= {row["image"] for row in photo_rows(tmp_path, "val")} <= before | {"another.png"}
    assert read_covers(tmp_path, "val", 32).shape[1:] == (3, 32, 32)


def test_no_photos(tmp_path: Path, write) -> None:
    refused("expected photos .* found none", read_covers, tmp_path, "train", 32)
    refused("expected a folder of photos, found no such folder", read_covers, tmp_path / "nowhere", "train", 32)
    write(tmp_path / "0.png", noise(0))
    found = []
    for split in ("train", "val", "test"):
        with contextlib.suppress(DatasetError):
            found.append(len(photo_rows(tmp_path, split)))
    assert found == [1]
    others = {"train", "val", "test"} - {_split_of("0.png")}
    refused("got none among 1; add photos", photo_rows, tmp_path, others.pop())
