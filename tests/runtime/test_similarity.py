from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hidemia.runtime import ImageError, similarity


def test_psnr_by_hand():
    a = np.zeros((4, 4, 3), np.uint8)
    b = a.copy()
    b[0, 0, 0] = 48  # mean square 48 = 2304 / 48 values
    assert similarity.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 48))
    assert similarity.psnr(b, a) == similarity.psnr(a, b)
    assert similarity.psnr(a, a) == math.inf
    assert similarity.psnr(a, np.full_like(a, 255)) == 0.0


@pytest.mark.parametrize(("height", "width"), [(11, 11), (64, 48), (224, 224)])
@pytest.mark.parametrize("noise", [1, 12, 90])
def test_agrees_with_scikit_image(rng, tiny, height, width, noise):
    a = tiny.photo(rng, height, width)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    expected = structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=2
    )
    assert similarity.ssim(a, b) == pytest.approx(expected, abs=1e-6)
    assert similarity.psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)


def test_ssim_of_equal_images_is_one(rng):
    a = rng.integers(0, 256, (32, 32, 3), np.uint8)
    assert similarity.ssim(a, a) == pytest.approx(1.0, abs=1e-12)


def test_changed_share(rng):
    a = np.zeros((10, 10, 3), np.uint8)
    b = a.copy()
    b[:5] = 1
    assert similarity.changed_share(a, b) == 0.5


def test_low_change_by_hand():
    """Of four means of 2x2 px, one is 2 levels away: a mean square of 1."""
    a = np.full((4, 4, 1), 100, np.uint8)
    b = a.copy()
    b[:2, :2] = [[[108], [100]], [[101], [99]]]
    assert similarity.low_change(a, b) == similarity.low_change(b, a) == 1.0
    assert similarity.low_change(a, a) == 0.0
    assert similarity.low_change(a[:3, :3], b[:3, :3]) == 2.0  # the last row and column are left out


@pytest.mark.parametrize(("level", "counts"), [(7, False), (8, True), (247, True), (248, False)])
def test_a_mean_with_a_value_that_may_have_been_clipped_says_nothing(level, counts):
    original = np.full((2, 4, 1), 100, np.uint8)
    original[1, 3] = level
    changed = original.copy()
    changed[:, 2:] += 2
    assert similarity.low_change(changed, original) == (pytest.approx(2**0.5) if counts else 0.0)
    assert similarity.low_change(changed[:, 2:], original[:, 2:]) == (2.0 if counts else 0.0)


def test_the_finest_detail_is_no_low_change(rng):
    a = rng.integers(50, 200, (32, 32, 3), np.uint8)
    checks = (np.indices((32, 32)).sum(axis=0) % 2 * 2 - 1)[:, :, None]
    assert similarity.low_change(a, (a + 9 * checks).astype(np.uint8)) == 0.0
    assert similarity.low_change(a, a + np.uint8(9)) == 9.0


def test_wrong_shapes():
    a = np.zeros((32, 32, 3), np.uint8)
    for measure in (similarity.psnr, similarity.ssim, similarity.changed_share, similarity.low_change):
        with pytest.raises(ImageError, match="expected two images of one shape"):
            measure(a, a[:16])
    with pytest.raises(ImageError, match="at least 11 px"):
        similarity.ssim(a[:10], a[:10])
