from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from hidemia.training.data import (
    STORED_PX,
    Scans,
    crop_covers,
    epoch_order,
    generator,
    hiding_batch,
    read_covers,
    read_rows,
    read_scans,
    scaled,
    spread,
    training_batch,
    warp,
)
from hidemia.training.errors import DatasetError, TrainingError


def refused(match: str, call, *arguments) -> None:
    """The call fails with one line that says what is wrong."""
    with pytest.raises(DatasetError, match=match) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TrainingError)
    assert caught.value.exit_code == 2


def rewrite(folder: Path, old: str, new: str) -> None:
    index = folder / "index.csv"
    text = index.read_text()
    assert old in text
    index.write_text(text.replace(old, new))


# Reading


def test_reads_a_split(scans_folder: Path) -> None:
    scans = read_scans(scans_folder, "train", segmentation=True)
    assert scans.images.shape == (4, 3, STORED_PX, STORED_PX)
    assert scans.masks is not None
    assert scans.masks.shape == (4, 1, STORED_PX, STORED_PX)
    assert scans.images.dtype == scans.masks.dtype == torch.uint8
    assert scans.masks.unique().tolist() == [0, 255]
    assert scans.classes == ("even", "odd")
    assert scans.labels.tolist() == [0, 1, 0, 1]
    assert len(read_scans(scans_folder, "val", segmentation=True).images) == 2
    # The disc is where the scan is bright: image and mask belong together.
    inside = scans.masks.expand(-1, 3, -1, -1) > 0
    assert scans.images[inside].float().mean() > scans.images[~inside].float().mean() + 100


def test_masks_are_read_for_segmentation_only(scans_folder: Path) -> None:
    assert read_scans(scans_folder, "train", segmentation=False).masks is None


def test_colours_are_red_green_blue(covers_folder: Path, write) -> None:
    image = np.zeros((30, 40, 3), np.uint8)
    image[..., 2] = 200  # OpenCV writes blue, green, red
    write(covers_folder / "0.png", image)
    photos = read_covers(covers_folder, "train", 24)
    assert photos.shape == (3, 3, 24, 24)
    assert photos[0].flatten(1).float().mean(dim=1).tolist() == [200, 0, 0]


def test_right_size_is_left_alone(covers_folder: Path, write) -> None:
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    write(covers_folder / "0.png", image)
    expected = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)
    assert torch.equal(read_covers(covers_folder, "train", 24)[0], expected)


def test_covers_are_averaged_down(covers_folder: Path, write) -> None:
    stripes = np.zeros((48, 48, 3), np.uint8)
    stripes[:, ::2] = 200
    write(covers_folder / "0.png", stripes)
    assert read_covers(covers_folder, "train", 24)[0].unique().tolist() == [100]


def test_labels_mean_the_same_in_every_split(scans_folder: Path) -> None:
    rewrite(scans_folder, "even,val", "odd,val")  # val now has one class only
    scans = read_scans(scans_folder, "val", segmentation=True)
    assert scans.classes == ("even", "odd")
    assert scans.labels.tolist() == [1, 1]


def test_byte_order_mark_is_no_column(scans_folder: Path) -> None:
    index = scans_folder / "index.csv"
    index.write_bytes(b"\xef\xbb\xbf" + index.read_bytes())
    assert len(read_rows(scans_folder, "train")) == 4


def test_no_index(tmp_path: Path) -> None:
    refused(rf"{tmp_path}: expected a data set with index.csv, found none", read_rows, tmp_path, "train")


@pytest.mark.parametrize("column", ["image", "split"])
def test_missing_column(scans_folder: Path, column: str) -> None:
    rewrite(scans_folder, f"{column},", f"{column}s,")
    refused(r"index\.csv: expected columns image and split, got image", read_rows, scans_folder, "train")


def test_empty_index(scans_folder: Path) -> None:
    (scans_folder / "index.csv").write_text("")
    refused(r"index\.csv: expected columns image and split, got none", read_rows, scans_folder, "train")


def test_no_such_split(scans_folder: Path) -> None:
    refused(r"index\.csv: expected images of split 'test', got only train, val", read_rows, scans_folder, "test")


def test_row_cut_short(scans_folder: Path) -> None:
    with (scans_folder / "index.csv").open("a") as file:
        file.write("images/6.png\n")
    assert len(read_rows(scans_folder, "train")) == 4
    refused("expected images of split 'test'", read_rows, scans_folder, "test")


def test_index_that_is_no_text(scans_folder: Path) -> None:
    (scans_folder / "index.csv").write_bytes(b"image,split\n\xff\xfe\x00,train\n")
    refused(r"index\.csv: expected UTF-8 text", read_rows, scans_folder, "train")


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_missing_file(scans_folder: Path, kind: str) -> None:
    (scans_folder / kind / "2.png").unlink()
    refused(rf"{kind}/2\.png: missing", read_scans, scans_folder, "train", True)


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("content", [b"", b"this is a text file"])
def test_unreadable_file(scans_folder: Path, kind: str, content: bytes) -> None:
    (scans_folder / kind / "1.png").write_bytes(content)
    refused(rf"{kind}/1\.png: not an image that can be decoded", read_scans, scans_folder, "train", True)


def test_folder_for_a_file(scans_folder: Path) -> None:
    rewrite(scans_folder, "images/0.png", "images")
    refused("images: missing", read_scans, scans_folder, "train", True)


def test_mask_left_out(scans_folder: Path) -> None:
    rewrite(scans_folder, "masks/3.png", "")
    refused(r"images/3\.png: expected a mask in index\.csv, got none", read_scans, scans_folder, "train", True)


def test_empty_mask(scans_folder: Path, write) -> None:
    write(scans_folder / "masks/2.png", np.full((48, 48), 127, np.uint8))
    refused(r"masks/2\.png: expected a mask with something in it", read_scans, scans_folder, "train", True)


def test_unlabelled_image(scans_folder: Path) -> None:
    rewrite(scans_folder, "2.png,even", "2.png,")
    refused(r"images/2\.png: expected a label in index\.csv, got none", read_scans, scans_folder, "train", False)
    assert len(read_scans(scans_folder, "train", segmentation=True).images) == 4  # masks need no labels


def test_class_without_images(scans_folder: Path) -> None:
    rewrite(scans_folder, "even,val", "odd,val")
    refused(
        r"index\.csv: expected every class in split 'val', got none of even",
        read_scans, scans_folder, "val", False,
    )  # fmt: skip


# Order and draws


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (8, 4), (3, 8)])
def test_every_image_once_an_epoch(count: int, batch: int) -> None:
    epochs = 6
    steps = epochs * count // batch
    order = torch.cat([epoch_order(count, seed=5, step=step, batch=batch) for step in range(steps)])
    permutations = order[: len(order) // count * count].view(-1, count)
    for permutation in permutations:
        assert sorted(permutation.tolist()) == list(range(count))
    assert len({tuple(permutation.tolist()) for permutation in permutations}) > 1
    other = torch.cat([epoch_order(count, seed=6, step=step, batch=batch) for step in range(steps)])
    assert not torch.equal(order, other)


@pytest.fixture
def scans() -> Scans:
    """Five scans whose masks are where they are bright; labels 0 to 4."""
    images = torch.full((5, 3, STORED_PX, STORED_PX), 10, dtype=torch.uint8)
    for i in range(5):
        images[i, :, 60 : 120 + 10 * i, 90:170] = 250
    return Scans(images, images[:, :1].gt(127).to(torch.uint8) * 255, torch.arange(5), tuple("abcde"))


@pytest.fixture
def photos() -> torch.Tensor:
    return torch.randint(256, (4, 3, 40, 40), dtype=torch.uint8)


@pytest.mark.parametrize("draw", [training_batch, hiding_batch])
def test_batches_depend_on_seed_and_step_alone(draw, scans: Scans, photos: torch.Tensor) -> None:
    def at(seed: int, step: int):
        return draw(scans, photos, 32, 3, seed, step)

    expected = at(0, 7)
    torch.rand(100)  # neither the global generator
    at(0, 6)  # nor the batch before matters
    again = at(0, 7)
    for a, b in zip(expected, again, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)
    for other in (at(0, 8), at(1, 7)):
        assert not torch.equal(other.secrets, expected.secrets)
        assert not torch.equal(other.covers, expected.covers)


def test_training_batch(scans: Scans, photos: torch.Tensor) -> None:
    batch = training_batch(scans, photos, 32, 3, 0, 0)
    assert batch.secrets.shape == batch.covers.shape == (3, 3, 32, 32)
    assert batch.masks is not None
    assert batch.masks.shape == (3, 1, 32, 32)
    assert batch.masks.unique().tolist() == [0, 1]
    for image in (batch.secrets, batch.covers):
        assert image.dtype == torch.float32
        assert 0 <= image.min() < image.max() <= 1
    assert torch.equal(batch.labels, epoch_order(5, 0, 0, 3))
    # A scan's label, mask and picture are those of one image.
    bright = (batch.secrets.mean(dim=1, keepdim=True) > 0.45).float()
    assert (bright - batch.masks).abs().mean() < 0.02


def test_scans_without_an_up_are_turned_with_their_masks(scans: Scans, photos: torch.Tensor) -> None:
    upright = training_batch(scans, photos, 32, 3, 0, 0)
    turns = set()
    for step in range(8):
        upright, turned = (training_batch(scans, photos, 32, 3, 0, step, upright=way) for way in (True, False))
        assert torch.equal(upright.labels, turned.labels)
        for number in range(3):
            before, after = upright.secrets[number], turned.secrets[number]
            way = next(turn for turn in range(4) if torch.equal(after, before.rot90(turn, (1, 2))))
            turns.add(way)
            assert torch.equal(turned.masks[number], upright.masks[number].rot90(way, (1, 2)))
    assert turns == {0, 1, 2, 3}


def test_classification_has_no_masks(scans: Scans, photos: torch.Tensor) -> None:
    bare = Scans(scans.images, None, scans.labels, scans.classes)
    assert training_batch(bare, photos, 32, 3, 0, 0).masks is None


def test_hiding_batch_has_scans_tints_and_photos(photos: torch.Tensor) -> None:
    grey = torch.full((3, 3, STORED_PX, STORED_PX), 100, dtype=torch.uint8)
    scans = Scans(grey, None, torch.zeros(3, dtype=torch.int64), ("",))
    secrets = torch.cat([hiding_batch(scans, photos, 16, 16, 0, step).secrets for step in range(40)])
    flat = secrets.flatten(2)
    is_photo = flat.std(dim=2).amax(dim=1) > 0.01
    means = flat.mean(dim=2)
    is_scan = ~is_photo & (means - 100 / 255).abs().amax(dim=1).lt(1e-6)
    tinted = ~is_photo & ~is_scan
    assert is_photo.float().mean().item() == pytest.approx(1 / 4, abs=0.05)
    assert tinted.float().mean().item() == pytest.approx(1 / 8, abs=0.04)
    assert (means[tinted] <= 100 / 255).all()
    assert (means[tinted].amax(dim=1) - means[tinted].amin(dim=1) > 0.02).float().mean() > 0.8  # a colour


# Augmentation


def test_crops_are_pieces_of_photos() -> None:
    # A photo whose pixels say where they were.
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(20), indexing="ij")
    photo = torch.stack([rows, columns, torch.full_like(rows, 7)])[None].to(torch.uint8)
    corners, steps = set(), set()
    for crop in crop_covers(photo, 60, 12, generator(0, 0)).mul(255).round().int():
        assert crop.shape == (3, 12, 12)
        assert crop[2].unique().tolist() == [7]
        seen = {(int(r), int(c)) for r, c in zip(crop[0].flatten(), crop[1].flatten(), strict=True)}
        top, left = min(seen)
        assert seen == {(top + i, left + j) for i in range(12) for j in range(12)}
        corners.add((top, left))
        right, down = crop[:2, 0, 1] - crop[:2, 0, 0], crop[:2, 1, 0] - crop[:2, 0, 0]
        steps.add((*right.tolist(), *down.tolist()))
    assert {0, 8} <= {top for top, _ in corners}
    assert {0, 8} <= {left for _, left in corners}
    assert len(steps) == 8  # four quarter turns, each also mirrored


def test_whole_photo_when_there_is_no_room() -> None:
    photo = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8)
    crop = crop_covers(photo, 1, 16, generator(0, 0))[0].mul(255).round()
    assert torch.equal(crop.flatten(1).sort(dim=1).values, photo[0].float().flatten(1).sort(dim=1).values)


def test_warp_moves_masks_with_their_images() -> None:
    mask = torch.zeros(16, 1, STORED_PX, STORED_PX, dtype=torch.uint8)
    for i in range(16):
        cv2.ellipse(mask[i, 0].numpy(), (90 + 5 * i, 130 - 3 * i), (50, 25), 20.0 * i, 0, 360, 255, -1)
    pictures, moved = warp(mask.expand(-1, 3, -1, -1), mask, 64, generator(0, 3))
    assert moved is not None
    assert moved.unique().tolist() == [0, 1]
    # Contrast and brightness change what white is, not where it is.
    low, high = pictures.amin(dim=(1, 2, 3), keepdim=True), pictures.amax(dim=(1, 2, 3), keepdim=True)
    as_mask = ((pictures - low) / (high - low) > 0.5).float()
    assert (as_mask - moved).abs().mean() < 0.002
    still = (scaled(mask, 64) > 0.5).float()
    assert ((still - moved).abs().mean(dim=(1, 2, 3)) > 0.005).all()  # and each has moved


def test_warp_stays_within_its_limits() -> None:
    disc = torch.zeros(200, 1, STORED_PX, STORED_PX, dtype=torch.uint8)
    for i in range(200):
        cv2.circle(disc[i, 0].numpy(), (128, 128), 60, 255, -1)
    _, moved = warp(disc[:, :1].expand(-1, 3, -1, -1), disc, 64, generator(0, 0))
    assert moved is not None
    grid = torch.arange(64) + 0.5
    area = moved.sum(dim=(1, 2, 3))
    x = (moved * grid).sum(dim=(1, 2, 3)) / area / 64 - 0.5
    y = (moved * grid.view(-1, 1)).sum(dim=(1, 2, 3)) / area / 64 - 0.5
    zoom = (area / (np.pi * 15**2)).sqrt()
    assert 0.8 < zoom.min() < 0.9
    assert 1.15 < zoom.max() < 1.25
    for shift in (x, y):
        assert 0.06 < shift.abs().max() < 0.12  # 8 %, and a little more when zoomed in


def test_warp_turns_a_little_and_mirrors_half() -> None:
    # A disc in each colour: at a corner, to its right and below it.
    discs = torch.zeros(100, 3, STORED_PX, STORED_PX, dtype=torch.uint8)
    for colour, centre in enumerate([(96, 96), (160, 96), (96, 160)]):
        cv2.circle(discs[0, colour].numpy(), centre, 20, 255, -1)
    pictures, _ = warp(discs[:1].expand(100, -1, -1, -1), None, 64, generator(0, 0))
    high = pictures.amax(dim=(2, 3), keepdim=True)
    low = pictures.amin(dim=(2, 3), keepdim=True)
    disc = (pictures > (high + low) / 2).float()
    grid, area = torch.arange(64.0), disc.sum(dim=(2, 3))
    x, y = (disc * grid).sum(dim=(2, 3)) / area, (disc * grid.view(-1, 1)).sum(dim=(2, 3)) / area
    right, below = (x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]), (x[:, 2] - x[:, 0], y[:, 2] - y[:, 0])
    mirrored = right[0] * below[1] - right[1] * below[0] < 0
    assert 0.3 < mirrored.float().mean() < 0.7
    assert torch.equal(mirrored, right[0] < 0)  # left for right, never upside down
    angle = torch.atan2(below[0], below[1]).rad2deg()
    assert -16 < angle.min() < -11
    assert 11 < angle.max() < 16


def test_scaled_does_not_augment() -> None:
    image = torch.randint(256, (2, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(scaled(image, 16), image.float() / 255)
    halves = image.float().view(2, 3, 8, 2, 8, 2).mean(dim=(3, 5)) / 255
    small = scaled(image, 8)
    assert small.shape == (2, 3, 8, 8)
    assert (small - halves).abs().mean() < 0.06  # close to the mean of each block: no aliasing


def test_a_few_are_taken_evenly_from_a_split() -> None:
    images = torch.zeros(9, 3, 4, 4, dtype=torch.uint8)
    masks = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 1, 4, 4)
    scans = Scans(images, masks, torch.arange(9), ("a",))
    some = spread(scans, 3)
    assert some.labels.tolist() == [0, 4, 8]
    assert some.masks is not None
    assert some.masks[:, 0, 0, 0].tolist() == [0, 4, 8]
    assert spread(scans, 50).labels.tolist() == list(range(9))


def test_of_classes_equal_shares_are_taken_and_what_a_rare_one_lacks_of_others() -> None:
    scans = Scans(torch.arange(9), None, torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 2]), ("a", "b", "c"))
    some = spread(scans, 7)  # of class 1 all, two of class 2, four of 0
    assert some.images.tolist() == [0, 2, 3, 5, 6, 7, 8]
    assert some.labels.tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert some.masks is None
    assert spread(scans, 3).labels.tolist() == [0, 1, 2]
    assert spread(scans, 50).labels.tolist() == scans.labels.tolist()
