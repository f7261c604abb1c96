import numpy as np
import pytest

from hidemia.benchmarks.attacks.embeddings import lsb_matching, noise_like
from hidemia.runtime import similarity

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def draw():
    return np.random.default_rng(1)


@pytest.mark.parametrize("rate", [0.1, 0.4, 1.0])
def test_half_of_the_bits_move_their_value_by_one(rate):
    moved = lsb_matching(PHOTO, rate, draw()).astype(int) - PHOTO
    assert set(np.unique(moved)) == {-1, 0, 1}
    assert np.mean(moved != 0) == pytest.approx(rate / 2, rel=0.1)
    assert np.mean(moved > 0) == pytest.approx(rate / 4, rel=0.15)


def test_black_and_white_stay_within_range():
    ends = np.array([0, 255] * 500, np.uint8)
    assert set(np.unique(lsb_matching(ends, 1.0, draw()))) == {0, 1, 254, 255}


def test_nothing_embedded_is_nothing_changed():
    assert np.array_equal(lsb_matching(PHOTO, 0.0, draw()), PHOTO)
    assert np.array_equal(noise_like(PHOTO, PHOTO, draw()), PHOTO)


@pytest.mark.parametrize("step", [1, 3])
def test_noise_is_as_far_as_the_other_photo(step):
    photo = np.clip(PHOTO, 20, 235)
    other = (photo + step * draw().choice([-1, 1], photo.shape)).astype(np.uint8)
    assert similarity.psnr(noise_like(photo, other, draw()), photo) == pytest.approx(
        similarity.psnr(other, photo), abs=0.15
    )
