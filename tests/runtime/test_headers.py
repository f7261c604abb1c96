from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest

from hidemia.runtime import ImageError, headers
from hidemia.runtime.headers import Header, Limits


@pytest.mark.parametrize(
    ("suffix", "format_name"), [(".png", "PNG"), (".jpg", "JPEG"), (".bmp", "BMP"), (".tiff", "TIFF")]
)
def test_formats_and_sizes(suffix, format_name):
    data = cv2.imencode(suffix, np.zeros((41, 57, 3), np.uint8))[1].tobytes()
    assert headers.read(data, "x") == Header(format_name, 57, 41)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "an empty file"),
        (b"patient: none\n" * 40, "text"),
        (bytes(128) + b"DICM" + bytes(8), "a DICOM file (convert it to PNG)"),
        (b"GIF89a\x00\x01", "a GIF file"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "a WebP file"),
        (b"\x00\x01\x02\x03", "bytes of another kind"),
    ],
)
def test_other_files_are_named(data, got):
    with pytest.raises(ImageError) as caught:
        headers.read(data, "scan.png")
    assert str(caught.value) == f"scan.png: expected a PNG, JPEG, BMP or TIFF image, got {got}; check the file"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_every_cut_of_a_header_is_an_image_error(suffix):
    data = cv2.imencode(suffix, np.zeros((41, 57, 3), np.uint8))[1].tobytes()
    for end in range(min(len(data), 200)):
        try:
            header = headers.read(data[:end], "x")
        except ImageError:
            continue
        assert (header.width, header.height) == (57, 41)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
def test_random_damage_is_an_image_error_or_a_header(suffix):
    rng = np.random.default_rng(7)
    whole = cv2.imencode(suffix, rng.integers(0, 256, (41, 57, 3), np.uint8))[1].tobytes()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, min(len(data), 300), 4):
            data[at] = rng.integers(256)
        with contextlib.suppress(ImageError):
            headers.read(bytes(data), "x")


def test_limits():
    limits = Limits(max_side_px=100, max_pixels=5000, max_bytes=1000)
    headers.check(Header("PNG", 100, 50), 1000, limits, "x")
    for header, size in [
        (Header("PNG", 101, 10), 10),
        (Header("PNG", 100, 51), 10),
        (Header("PNG", 0, 10), 10),
        (Header("PNG", 10, 10), 1001),
    ]:
        with pytest.raises(ImageError):
            headers.check(header, size, limits, "x")
