import cv2
import numpy as np
import pytest

from hidemia.benchmarks.attacks.sources import Sources, disjoint, draw_picks, read_sources, received
from hidemia.runtime.errors import DataError


@pytest.mark.parametrize(("photos", "secrets", "per_cover"), [(512, 454, 4), (50, 65, 2), (160, 64, 2), (9, 5, 2)])
def test_a_cover_carries_different_secrets_and_all_are_used_alike(photos, secrets, per_cover):
    picks = draw_picks(photos, secrets, per_cover, 0)
    assert picks.shape == (photos, per_cover)
    assert all(len(set(row)) == per_cover for row in picks.tolist())
    times = np.bincount(picks.ravel(), minlength=secrets)
    assert times.max() - times.min() <= per_cover
    assert not np.array_equal(picks, draw_picks(photos, secrets, per_cover, 1))


def folder(root, count, masks=True, seed=0):
    draw = np.random.default_rng(seed)
    root.mkdir()
    lines = ["image,mask,label,split,group"]
    for split in ("train", "val", "test"):
        for n in range(count):
            name = f"{split}{n}"
            cv2.imwrite(str(root / f"{name}.png"), draw.integers(0, 256, (48, 40, 3), dtype=np.uint8))
            cv2.imwrite(str(root / f"{name}m.png"), np.pad(np.full((8, 8), 255, np.uint8), 16))
            lines.append(f"{name}.png,{name + 'm.png' if masks else ''},,{split},")
    (root / "index.csv").write_text("\n".join(lines) + "\n")
    return root


def test_both_classes_are_what_a_png_gives_back_at_the_networks_size(tmp_path):
    data, covers = folder(tmp_path / "data", 3), folder(tmp_path / "covers", 2, masks=False, seed=1)
    found = read_sources(data, covers, "val", 32, 2, None)
    assert found.covers.shape == (2, 32, 32, 3)
    assert found.secrets.shape == (3, 32, 32, 3)
    assert found.masks.shape == (3, 32, 32)
    assert found.names == ("val0.png", "val1.png", "val0.png", "val1.png", "val2.png")
    assert all(np.array_equal(received(cover), cover) for cover in found.covers)
    assert read_sources(data, covers, "val", 32, 2, 1).covers.shape[0] == 1


def test_splits_of_a_folder_are_disjoint(tmp_path):
    data, covers = folder(tmp_path / "data", 3), folder(tmp_path / "covers", 2, masks=False, seed=1)
    disjoint({split: read_sources(data, covers, split, 32, 2, None) for split in ("train", "val", "test")})


@pytest.mark.parametrize("what", ["covers", "secrets"])
def test_an_image_in_two_splits_is_refused(what):
    draw = np.random.default_rng(0)

    def source(**changes):
        images = {name: draw.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8) for name in ("covers", "secrets")}
        return Sources(**(images | changes), masks=None, picks=np.zeros((2, 1), np.int64), names=())

    train = source()
    shared = np.stack([getattr(source(), what)[0], getattr(train, what)[1]])
    with pytest.raises(DataError, match="expected train and test to share no image") as caught:
        disjoint({"train": train, "test": source(**{what: shared})})
    assert "\n" not in str(caught.value)


def test_too_few_secrets_are_refused_by_number(tmp_path):
    data, covers = folder(tmp_path / "data", 1), folder(tmp_path / "covers", 1, masks=False, seed=1)
    with pytest.raises(DataError, match="expected at least 2 images of split 'val', got 1"):
        read_sources(data, covers, "val", 32, 2, None)
