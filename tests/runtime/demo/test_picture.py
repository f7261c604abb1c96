from dataclasses import replace

import numpy as np
import pytest

from hidemia.runtime.demo.picture import HEIGHT, WIDTH, Journey, amplified, picture


@pytest.fixture(scope="module")
def journey():
    rng = np.random.default_rng(0)
    cover, secret = (rng.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(2))
    mask = np.zeros((96, 96), np.uint8)
    mask[30:60, 20:70] = 255
    return Journey(
        secret=secret,
        cover=cover,
        stego=cover ^ 1,
        reply=cover ^ 2,
        result=mask,
        truth=np.roll(mask, 4),
        stego_psnr_db=43.2,
        stego_ssim=0.991,
        reply_psnr_db=41.7,
        reply_ssim=0.982,
        dice=0.9,
    )


@pytest.fixture(scope="module")
def drawn(journey):
    return picture(journey)


def test_form(drawn):
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert drawn.dtype == np.uint8
    assert (drawn[0] == 255).all()
    assert (drawn[:, -1] == 255).all()


def test_pure(journey, drawn):
    before = journey.secret.copy()
    assert np.array_equal(picture(journey), drawn)
    assert np.array_equal(journey.secret, before)


@pytest.mark.parametrize(
    "change",
    [
        {"stego_psnr_db": 40.0},
        {"stego_ssim": 0.9},
        {"reply_psnr_db": 39.0},
        {"reply_ssim": 0.95},
        {"dice": 0.5},
    ],
)
def test_every_figure_is_in_it(journey, drawn, change):
    assert not np.array_equal(picture(replace(journey, **change)), drawn)


@pytest.mark.parametrize("name", ["secret", "cover", "stego", "reply", "result", "truth"])
def test_every_image_is_in_it(journey, drawn, name):
    turned = np.ascontiguousarray(getattr(journey, name)[::-1])
    assert not np.array_equal(picture(replace(journey, **{name: turned})), drawn)


def test_without_a_truth(journey, drawn):
    other = picture(replace(journey, truth=None, dice=None))
    assert other.shape == drawn.shape
    assert not np.array_equal(other, drawn)


def test_equal_images_and_an_empty_mask(journey):
    empty = np.zeros_like(journey.result)
    same = replace(journey, stego=journey.cover, stego_psnr_db=float("inf"), result=empty)
    assert picture(same).shape == (HEIGHT, WIDTH, 3)


def test_other_shapes_keep_their_aspect(journey):
    wide = {name: np.repeat(getattr(journey, name), 2, axis=1) for name in ("secret", "cover", "stego", "reply")}
    masks = {name: np.repeat(getattr(journey, name), 2, axis=1) for name in ("result", "truth")}
    assert picture(replace(journey, **wide, **masks)).shape == (HEIGHT, WIDTH, 3)


def test_the_factor_fits_the_difference():
    zero = np.full((8, 8, 3), 100, np.uint8)
    for difference, factor in ((0, 40), (3, 40), (5, 20), (60, 2), (120, 1)):
        seen, used = amplified(zero + np.uint8(difference), zero)
        assert used == factor
        assert (seen == 128 + factor * difference).all()
    assert (amplified(zero, zero + np.uint8(4))[0] == 128 - 30 * 4).all()
