import cv2
import numpy as np
import pytest

from hidemia.benchmarks import difference
from hidemia.benchmarks.attacks import exposures, inversion
from hidemia.benchmarks.attacks.budget import QUICK
from hidemia.benchmarks.attacks.photos import Photos, unveiled
from hidemia.benchmarks.attacks.sources import Sources
from hidemia.runtime import veil
from hidemia.runtime.veil import Veil

SIDE, COVERS = 64, 4


def smooth(count, seed):
    draw = np.random.default_rng(seed)
    small = draw.integers(60, 190, (count, 4, 4, 3), dtype=np.uint8)
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for one in small])


def split(seed, masks=True, inverse=False):
    """A hider that adds a sixteenth of the secret, and a server that brightens where the mask is, or all else."""
    covers, secrets = smooth(COVERS, seed), smooth(6, seed + 1)
    truths = np.zeros((6, SIDE, SIDE), bool)
    for n, truth in enumerate(truths):
        truth[8 * n : 8 * n + 20, 10:40] = True
    picks = np.array([[n, n + 2] for n in range(COVERS)])
    source = Sources(covers, secrets, truths if masks else None, picks, ())
    hidden = secrets[picks.T.ravel()].reshape(2, COVERS, SIDE, SIDE, 3)
    stegos = (covers[None] + hidden // 16).astype(np.uint8)
    replies = (stegos + 9 * (truths ^ inverse)[picks.T.ravel()].reshape(2, COVERS, SIDE, SIDE, 1)).astype(np.uint8)
    return source, Photos(stegos, replies)


@pytest.fixture
def world():
    made = {name: split(10 * n) for n, name in enumerate(("train", "val", "test"))}
    return {name: one[0] for name, one in made.items()}, {name: one[1] for name, one in made.items()}


def test_what_subtraction_shows_when_a_hider_only_adds(world):
    found = {row.attack: row for row in exposures.subtracted(*world)}
    assert found["stego - cover, the cover known"].figures["|correlation|"] > 0.9
    assert found["stego - cover, the cover known"].beside["|correlation|"] < 0.5
    assert found["two stegos of one cover, subtracted"].figures["|correlation|"] > 0.9
    outline = found["|stego - reply|, smoothed"]
    assert outline.figures["Dice"] > 0.8 > outline.beside["Dice"]
    assert outline.figures["|correlation|"] > 0.8 > outline.beside["|correlation|"]
    assert found["stego - reply in one colour, smoothed"].figures["Dice"] > 0.8
    assert found["fine detail of stego - reply, smoothed"].figures["Dice"] < 0.8


def test_under_a_veil_subtraction_shows_nothing_but_to_who_has_the_key(world):
    sources, free = world
    pair = Veil(reach=9, colours="blue", key="5a" * 32)
    bare, veiled = {}, {}
    for name, own in free.items():
        replies = np.concatenate([own.stegos[..., :2], own.replies[..., 2:]], axis=-1)
        rows = [
            [veil.put(r, s, pair) for r, s in zip(*turn, strict=True)] for turn in zip(replies, own.stegos, strict=True)
        ]
        bare[name], veiled[name] = Photos(own.stegos, replies), Photos(own.stegos, np.stack(rows))
    for row in exposures.subtracted(sources, veiled):
        if row.reveals == "result":
            assert row.figures["Dice"] < row.beside["Dice"]
            assert row.figures["|correlation|"] < row.beside["|correlation|"] + 0.1
    for name, own in bare.items():
        lifted = unveiled(veiled[name], pair).replies
        assert np.array_equal(lifted[:, :, 1:], own.replies[:, :, 1:])  # the mark is in the first row


def test_what_changes_least_outlines_as_well():
    made = {name: split(10 * n, inverse=True) for n, name in enumerate(("train", "val", "test"))}
    sources, photos = {n: one[0] for n, one in made.items()}, {n: one[1] for n, one in made.items()}
    outline = {row.attack: row for row in exposures.subtracted(sources, photos)}["|stego - reply|, smoothed"]
    assert outline.figures["Dice"] > 0.8 > outline.beside["Dice"]
    assert outline.figures["|correlation|"] > 0.8


def test_without_masks_only_secrets_are_asked_for():
    made = {name: split(n, masks=False) for n, name in enumerate(("train", "val", "test"))}
    sources, photos = {n: one[0] for n, one in made.items()}, {n: one[1] for n, one in made.items()}
    assert {row.reveals for row in exposures.subtracted(sources, photos)} == {"secret", "difference of the secrets"}
    assert exposures.answered(sources, photos, QUICK) is None


def test_secrets_lie_as_the_photos_do(world):
    source = world[0]["test"]
    assert np.array_equal(exposures.secrets_of(source)[COVERS + 1], source.secrets[3])  # second turn, second cover
    assert np.array_equal(exposures.masks_of(source)[1], source.masks[1])


def test_a_thief_of_the_recover_network_gets_the_secret_exactly(world):
    sources, photos = world
    secrets = exposures.secrets_of(sources["test"])[:2]
    found = exposures.opened("theft", lambda seen: secrets[: len(seen)] ^ 1, sources, photos, 2)
    assert found.figures["PSNR dB"] == pytest.approx(48.13, abs=0.01)  # every value off by one
    assert found.beside["PSNR dB"] < 20


@pytest.mark.parametrize("several", [True, False])
def test_every_leak_lies_beside_its_secret(world, several):
    photos, covers = world[1]["test"], world[0]["test"].covers
    found = list(exposures.leaks(QUICK, several))
    assert [leak.given(photos, covers).shape[-1] for leak in found] == ([3, 6, 6] if several else [3, 6])
    for leak in found:
        given = leak.given(photos, covers)
        assert np.array_equal(given[..., :3], photos.stegos.reshape(-1, SIDE, SIDE, 3))
    assert np.array_equal(found[1].given(photos, covers)[COVERS + 2, ..., 3:], covers[2])
    if several:
        assert np.array_equal(found[2].given(photos, covers)[COVERS + 2, ..., 3:], photos.stegos[0, 2])


def test_the_inversion_network_learns_what_can_be_read():
    """The secret as the even columns of a photo."""
    wanted, test = smooth(24, 0), smooth(4, 1)

    def given(secrets):
        photos = smooth(len(secrets), 9).copy()
        photos[:, :, ::2] = secrets[:, :, ::2]
        return photos

    network = inversion.train_inversion(given(wanted), wanted, seed=0, steps=60, batch=4)
    found = inversion.invert(network, given(test))
    assert found.shape == test.shape
    assert found.dtype == np.uint8
    mean = np.broadcast_to(wanted.mean(axis=0).round().astype(np.uint8), test.shape)
    assert exposures.nearness(found, test)["PSNR dB"] > exposures.nearness(mean, test)["PSNR dB"] + 2


def test_the_inversion_network_reads_a_change_of_two_levels_between_photos():
    """A mask, as one photo that is brighter there than the other."""

    def pair(count, seed):
        photos, masks = smooth(count, seed), smooth(count, seed + 1)[..., :1] > 125
        return np.concatenate([photos, photos + 2 * masks.astype(np.uint8)], axis=-1), masks

    given, masks = pair(24, 0)
    network = inversion.train_inversion(given, masks.astype(np.uint8) * 255, seed=0, steps=60, batch=4)
    seen, truth = pair(4, 7)
    found = inversion.invert(network, seen)
    assert found.shape == truth.shape
    assert difference.outlined(found[..., 0].astype(np.float32), truth[..., 0], 127.5) > 0.9


def test_colour_and_grain_tell_a_change_that_is_as_strong_everywhere():
    """Red moved up and blue down in the left half, and the other way in the right; or a chequer in the left half."""
    photo, chequer = np.full((64, 64, 3), 100, np.uint8), np.indices((64, 64)).sum(axis=0) % 2
    mask = np.arange(64) < 32
    coloured = np.where(mask[None, :, None], (2, 0, -2), (-2, 0, 2)) + photo
    red, green, blue = (difference.moved(coloured, photo, colour) for colour in range(3))
    truth = np.broadcast_to(mask, (64, 64))
    assert difference.correlation(red, truth) > 0.9
    assert difference.correlation(blue, truth) < -0.9
    assert not green.any()
    assert np.ptp(difference.changed(coloured, photo)) < 1e-4
    fine = np.where(mask[None, :, None], 2 * (2 * chequer - 1)[..., None], 2) + photo  # all of it 2 levels away
    assert difference.correlation(difference.grained(fine, photo), truth) > 0.9
    assert np.ptp(difference.changed(fine, photo)) < 1e-4


def test_tiles_lie_row_by_row():
    numbered = np.arange(9, dtype=np.float32).reshape(3, 3).repeat(2, axis=0).repeat(2, axis=1)
    assert difference.in_tiles(numbered).tolist() == list(range(9))


def test_correlation_by_hand():
    assert difference.correlation(np.array([1, 2, 3]), np.array([2, 4, 6])) == pytest.approx(1)
    assert difference.correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    assert difference.correlation(np.array([1, 1]), np.array([0, 5])) == 0


def test_the_best_level_outlines_what_was_planted():
    maps = np.array([[[1.0, 2.0], [7.0, 8.0]]], np.float32)
    masks = np.array([[[False, False], [True, True]]])
    level = difference.best_level(maps, masks)
    assert 2 <= level < 7
    assert difference.outlined(maps, masks, level) == 1
    assert difference.outlined(maps, masks, 0.0) == pytest.approx(2 * 2 / (4 + 2))
