from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidemia.runtime import ImageError, Window, to_image


def grey(*values, dtype=np.uint16):
    """A 32x32 image that begins with these values and goes on with the first."""
    image = np.full((32, 32), values[0], dtype)
    image.flat[: len(values)] = values
    return image


def test_by_hand():
    image = to_image(grey(0, 100, 150, 199, 200, 4000), Window(100, 200))
    assert image.dtype == np.uint8
    assert image.shape == (32, 32, 3)
    assert image[0, :6, 0].tolist() == [0, 0, 128, 252, 255, 255]
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_signed_values_as_of_a_ct():
    image = to_image(grey(-1000, -160, 240, 3000, dtype=np.int16), Window(-160, 240))
    assert image[0, :4, 0].tolist() == [0, 0, 255, 255]


def test_uint8_passes_unchanged_through_its_full_window(rng):
    pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
    assert np.array_equal(to_image(pixels, Window.full(8)), pixels)


def test_full_scale_is_what_files_of_16_bits_become(tmp_path, rng):
    import cv2

    from hidemia.runtime import photo

    pixels = rng.integers(0, 65536, (40, 50), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    assert np.array_equal(to_image(pixels, Window.full(16)), photo.load(tmp_path / "a.png"))


@settings(deadline=None)
@given(st.integers(-32768, 32766), st.integers(1, 65535), st.integers(0, 2**32))
def test_order_is_kept_and_ends_are_reached(low, width, seed):
    window = Window(low, low + width)
    values = np.sort(np.random.default_rng(seed).integers(-32768, 32768, 1022)).astype(np.int16)
    pixels = np.concatenate([[-32768], values, [32767]]).astype(np.int16).reshape(32, 32)
    levels = to_image(pixels, window)[..., 0].ravel().astype(int)
    assert (np.diff(levels) >= 0).all()
    flat = pixels.ravel().astype(int)
    assert (levels[flat <= low] == 0).all()
    assert (levels[flat >= low + width] == 255).all()


def test_of_one_image():
    assert Window.of(grey(500, 40, 900)) == Window(40, 900)
    assert Window.full(12) == Window(0, 4095)


@pytest.mark.parametrize("ends", [(5, 5), (9, 3), (float("nan"), 1), (0, float("inf"))])
def test_no_window(ends):
    with pytest.raises(ImageError, match="window: expected low below high"):
        Window(*ends)


def test_a_flat_image_has_no_window_of_its_own():
    with pytest.raises(ImageError, match="expected low below high, got 7 and 7"):
        Window.of(grey(7))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((32, 32), np.float32), "expected 8 or 16-bit integers, .* got float32"),
        (np.zeros((32, 32), np.int32), "got int32"),
        (np.zeros(32, np.uint8), r"got uint8 \(32,\)"),
        ("scan", "got str"),
        (np.zeros((32, 32, 4), np.uint16), r"expected a uint8 array \(H, W, 3\)"),
        (np.zeros((31, 40), np.uint16), "expected at least 32 px a side, got 40x31"),
    ],
)
def test_what_is_no_image(pixels, message):
    with pytest.raises(ImageError, match=f"scan: .*{message}|scan: {message}"):
        to_image(pixels, Window.full(16), name="scan")
