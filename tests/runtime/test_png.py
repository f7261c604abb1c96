from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from hidemia.runtime import ImageError, png
from hidemia.runtime.headers import Limits


def chunk_kinds(data: bytes) -> list[bytes]:
    position, kinds = 8, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kinds.append(data[position + 4 : position + 8])
        position += 12 + length
    return kinds


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, (64, 48, 3), np.uint8)


def test_round_trip_is_exact_and_deterministic(rng):
    for height, width in [(1, 1), (64, 64), (37, 211), (224, 224)]:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        data = png.encode(image)
        assert np.array_equal(png.decode(data), image)
        assert png.encode(image) == data


def test_encoded_holds_three_kinds_of_chunks(rng):
    large = rng.integers(0, 256, (700, 700, 3), np.uint8)
    assert set(chunk_kinds(png.encode(large))) == {b"IHDR", b"IDAT", b"IEND"}
    assert set(chunk_kinds(png.encode_mask(large[..., 0]))) == {b"IHDR", b"IDAT", b"IEND"}


def test_decoding_reads_what_others_write(image):
    data = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    assert np.array_equal(png.decode(data), image)


def test_ancillary_chunks_change_nothing(image, tiny):
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    key = struct.pack(">HHH", *(int(value) for value in image[0, 0]))
    extra = [(b"gAMA", struct.pack(">I", 20000)), (b"tRNS", key), (b"tEXt", b"Comment\0hello")]
    assert np.array_equal(png.decode(tiny.png(48, 64, raw=raw, extra=extra)), image)


def test_every_truncation_is_refused(image, capfd):
    data = png.encode(image)
    for end in [0, 4, 8, 12, 20, 33, 40, len(data) // 2, len(data) - 13, len(data) - 12, len(data) - 1]:
        with pytest.raises(ImageError):
            png.decode(data[:end], name="stego.png")
    assert capfd.readouterr() == ("", "")


def test_truncated_message(image):
    with pytest.raises(ImageError) as caught:
        png.decode(png.encode(image)[:-20], name="stego.png")
    assert str(caught.value) == (
        "stego.png: expected a whole PNG, got a damaged one (it ends inside a chunk); copy or send it again"
    )


def test_every_flipped_byte_is_refused(image, capfd):
    data = png.encode(image)
    for at in [*range(60), *np.random.default_rng(1).integers(60, len(data), 100)]:
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        with pytest.raises(ImageError):
            png.decode(bytes(damaged))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"raw": bytes(64 * 145 - 1)}, "it holds 9279 of 9280 bytes of pixel data"),
        ({"raw": bytes(64 * 145 + 1)}, "it holds 9281 of 9280 bytes of pixel data"),
        ({"raw": b"\x05" + bytes(64 * 145 - 1)}, "a row has an unknown filter"),
        ({"raw": bytes(145 * 63) + b"\x09" + bytes(144)}, "a row has an unknown filter"),
        ({"depth": 3}, "its header has unknown values"),
    ],
)
def test_well_formed_but_wrong_inside(tiny, changes, why, capfd):
    with pytest.raises(ImageError, match=why):
        png.decode(tiny.png(48, 64, **changes))
    assert capfd.readouterr() == ("", "")


def test_a_bomb_is_not_inflated(tiny):
    """A stream far beyond its image stops at the image's size."""
    data = tiny.png(32, 32, raw=bytes(200 << 20))
    assert len(data) < 300_000
    with pytest.raises(ImageError, match="bytes of pixel data"):
        png.decode(data)


def test_huge_header_is_refused_before_decoding(tiny):
    data = tiny.png(20000, 20000, raw=b"\0")
    with pytest.raises(ImageError) as caught:
        png.decode(data, name="big.png")
    assert str(caught.value) == (
        "big.png: expected at most 4096 px a side and 16777216 pixels, got 20000x20000; use a smaller image"
    )


def test_byte_limit(image):
    with pytest.raises(ImageError, match="expected at most 100 bytes"):
        png.decode(png.encode(image), limits=Limits(4096, 4096**2, 100))


@pytest.mark.parametrize(
    ("colour", "depth", "got"),
    [(0, 8, "8-bit grey"), (6, 8, "8-bit RGBA"), (2, 16, "16-bit RGB"), (4, 8, "8-bit grey with alpha")],
)
def test_only_8_bit_rgb_goes_over_the_wire(tiny, colour, depth, got):
    with pytest.raises(ImageError) as caught:
        png.decode(tiny.png(48, 64, colour=colour, depth=depth), name="x.png")
    assert str(caught.value) == f"x.png: expected an 8-bit RGB PNG, got {got}; pass it exactly as it was made"


def test_a_jpeg_is_told_why(image):
    data = cv2.imencode(".jpg", image)[1].tobytes()
    with pytest.raises(ImageError) as caught:
        png.decode(data, name="stego.jpg")
    assert str(caught.value) == "stego.jpg: expected a PNG, got a JPEG, which destroys what is hidden; send it as PNG"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 3), (48, 64), (33, 8)])
def test_interlaced_is_read(tiny, width, height):
    """Adam7 has up to seven passes, and small images lack some."""
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    image = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    raw = b""
    for x, y, dx, dy in passes:
        part = image[y::dy, x::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)
    assert np.array_equal(png.decode(tiny.png(width, height, raw=raw, interlace=1)), image)
    with pytest.raises(ImageError):
        png.decode(tiny.png(width, height, raw=raw + b"\0", interlace=1))


def test_random_bytes_never_do_more_than_raise(capfd):
    rng = np.random.default_rng(5)
    header = b"\x89PNG\r\n\x1a\n"
    for _ in range(300):
        body = rng.integers(0, 256, int(rng.integers(0, 200)), np.uint8).tobytes()
        with pytest.raises(ImageError):
            png.decode(header + body)
        kind = bytes(rng.choice([b"IHDR", b"IDAT", b"IEND", b"PLTE"]))
        chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        with pytest.raises(ImageError):
            png.decode_any(header + chunk)
    assert capfd.readouterr() == ("", "")


def test_what_makes_libpng_print_a_line_is_refused_before(image, capfd):
    """Found by the fuzzer: libpng reads on, and says so on the standard error of the program around it."""
    whole = png.encode(image)
    header, rest = whole[8:33], whole[33:]
    again = whole[:8] + header + header + rest
    with pytest.raises(ImageError, match="it has a second IHDR"):
        png.decode(again)
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    body = zlib.compress(raw) + b"more"
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    with pytest.raises(ImageError, match="bytes follow its pixel data"):
        png.decode(whole[:8] + header + chunk + whole[-12:])
    assert capfd.readouterr() == ("", "")
