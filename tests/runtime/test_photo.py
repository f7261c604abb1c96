from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from hidemia.runtime import ImageError, photo


def write(path, pixels):
    assert cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, (40, 51, 3), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_formats_are_read_exactly(tmp_path, image, suffix):
    path = write(tmp_path / f"x{suffix}", image[..., ::-1])
    assert np.array_equal(photo.load(path), image)


def test_jpeg_is_read(tmp_path, tiny, rng):
    image = tiny.photo(rng)
    path = write(tmp_path / "x.jpg", image[..., ::-1])
    assert np.abs(photo.load(path).astype(int) - image).mean() < 8


def test_jpeg_orientation_is_applied(tmp_path, tiny, rng):
    """An EXIF block that says: turned by 90 degrees."""
    data = cv2.imencode(".jpg", tiny.photo(rng, 40, 60))[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0" + tiff
    app1 = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    path = tmp_path / "x.jpg"
    path.write_bytes(data[:2] + app1 + data[2:])
    assert photo.load(path).shape == (60, 40, 3)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_grey_16_bit_and_opaque_alpha(tmp_path, image, suffix):
    grey = image[..., 0]
    assert np.array_equal(photo.load(write(tmp_path / f"g{suffix}", grey)), np.repeat(grey[..., None], 3, 2))
    deep = image[..., ::-1].astype(np.uint16) * 257
    assert np.array_equal(photo.load(write(tmp_path / f"d{suffix}", deep)), image)
    opaque = np.dstack([image[..., ::-1], np.full(image.shape[:2], 255, np.uint8)])
    assert np.array_equal(photo.load(write(tmp_path / f"a{suffix}", opaque)), image)


def test_16_bit_rounds_to_the_nearest(tmp_path):
    deep = np.tile(np.array([0, 128, 129, 385, 386, 65535], np.uint16), (32, 10))
    expected = np.rint(deep.astype(float) / 257).astype(np.uint8)
    assert np.array_equal(photo.load(write(tmp_path / "d.png", deep))[..., 0], expected)


def test_transparency_is_refused(tmp_path, image):
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[3, 4] = 254
    path = write(tmp_path / "a.png", np.dstack([image, alpha]))
    with pytest.raises(ImageError) as caught:
        photo.load(path)
    assert str(caught.value) == f"{path}: expected an opaque image, got one with transparent pixels; flatten it first"


def test_palette_and_one_bit(tmp_path, tiny):
    palette = (b"PLTE", bytes([10, 20, 30, 200, 210, 220]))
    raw = b"".join(b"\0" + bytes([column % 2 for column in range(40)]) for _ in range(40))
    (tmp_path / "p.png").write_bytes(tiny.png(40, 40, colour=3, raw=raw, extra=[palette]))
    loaded = photo.load(tmp_path / "p.png")
    assert loaded[0, 0].tolist() == [10, 20, 30]
    assert loaded[0, 1].tolist() == [200, 210, 220]
    (tmp_path / "b.png").write_bytes(tiny.png(40, 40, colour=0, depth=1, raw=(b"\0" + b"\xaa" * 5) * 40))
    assert photo.load(tmp_path / "b.png")[0, :2, 0].tolist() == [255, 0]


def test_float_tiff_is_refused(tmp_path):
    path = write(tmp_path / "f.tiff", np.zeros((40, 40), np.float32))
    with pytest.raises(ImageError, match="expected 8 or 16 bits a value, got float32"):
        photo.load(path)


def test_several_pages_are_refused(tmp_path, image):
    path = tmp_path / "m.tiff"
    assert cv2.imwritemulti(str(path), [image, image])
    with pytest.raises(ImageError, match="expected a TIFF of one page"):
        photo.load(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_truncated_files_are_refused(tmp_path, image, suffix):
    data = cv2.imencode(suffix, image)[1].tobytes()
    for share in (0.3, 0.6, 0.95):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ImageError):
            photo.load(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "text.png").write_text("hello\n")
    cases = {
        tmp_path / "none.png": "expected an image file, got no such file; check the path",
        tmp_path: "expected an image file, got a folder; name a file in it",
        tmp_path / "text.png": "expected a PNG, JPEG, BMP or TIFF image, got text; check the file",
    }
    for path, message in cases.items():
        with pytest.raises(ImageError) as caught:
            photo.load(path)
        assert str(caught.value) == f"{path}: {message}"
        assert caught.value.exit_code == 2


def test_small_and_huge(tmp_path, tiny):
    path = write(tmp_path / "s.png", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ImageError) as caught:
        photo.load(path)
    assert str(caught.value) == f"{path}: expected at least 32 px a side, got 3x3; use a larger image"
    huge = tmp_path / "h.png"
    huge.write_bytes(tiny.png(20000, 20000, raw=b"\0"))
    with pytest.raises(ImageError, match="got 20000x20000; use a smaller image"):
        photo.load(huge)


def test_fit_keeps_what_fits(image, rng):
    square = rng.integers(0, 256, (64, 64, 3), np.uint8)
    assert photo.fit(square, 64) is square
    for height, width in [(32, 32), (33, 301), (301, 33), (640, 480), (64, 100)]:
        fitted = photo.fit(np.full((height, width, 3), 77, np.uint8), 64)
        assert fitted.shape == (64, 64, 3)
        assert fitted.dtype == np.uint8
        assert (fitted == 77).all()


def test_fit_averages_areas():
    image = np.zeros((64, 64, 3), np.uint8)
    image[::2] = 200
    assert (photo.fit(image, 32) == 100).all()


def test_scale_mask_is_nearest(rng):
    mask = (rng.integers(0, 2, (64, 64)) * 255).astype(np.uint8)
    assert np.array_equal(photo.scale_mask(mask, (128, 192)), mask.repeat(2, 0).repeat(3, 1))
    assert set(np.unique(photo.scale_mask(mask, (97, 333)))) == {0, 255}
    assert photo.scale_mask(mask, (97, 333)).shape == (97, 333)
