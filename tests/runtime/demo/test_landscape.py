import numpy as np
import pytest

from hidemia.runtime.demo.landscape import photo


@pytest.fixture(scope="module")
def photos():
    return [photo(seed) for seed in range(4)]


def test_a_seed_gives_one_photo(photos):
    assert np.array_equal(photo(2), photos[2])
    assert not np.array_equal(photos[1], photos[2])


@pytest.mark.parametrize("size_px", [64, 300])
def test_form(size_px):
    image = photo(0, size_px)
    assert image.shape == (size_px, size_px, 3)
    assert image.dtype == np.uint8


def test_neither_flat_nor_saturated(photos):
    for image in photos:
        assert np.mean((image == 0) | (image == 255)) < 0.01
        blocks = image.reshape(28, 8, 28, 8, 3).astype(float).std(axis=(1, 3))
        assert np.mean(blocks.max(axis=2) < 0.8) < 0.02, "flat areas hide nothing"
        assert image.std() > 30
        assert 60 < image.mean() < 190


def test_colours_differ(photos):
    for image in photos:
        assert np.abs(image[..., 0].astype(int) - image[..., 2]).mean() > 8


def test_spectrum_falls_as_that_of_photos(photos):
    """Power falls about with the square of the frequency in natural images."""
    window = np.hanning(224)[:, None] * np.hanning(224)[None, :]
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(224), np.fft.fftfreq(224))) * 224
    bands = [(radius >= low) & (radius < 1.5 * low) for low in (6, 12, 24, 48)]
    for image in photos:
        grey = image.mean(axis=2)
        power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        slope = np.polyfit(np.log([6, 12, 24, 48]), [np.log(power[band].mean()) for band in bands], 1)[0]
        assert -3.6 < slope < -1.2
