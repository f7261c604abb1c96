"""Format and dimensions of an image file, read from its first bytes before any decoder sees it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hidemia.runtime.errors import ImageError

__all__ = ["PHOTO", "WIRE", "Format", "Header", "Limits", "check", "read"]

Format: TypeAlias = Literal["PNG", "JPEG", "BMP", "TIFF", "DICOM"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an image may be, checked before it is decoded."""

    max_side_px: int
    max_pixels: int
    max_bytes: int


WIRE = Limits(max_side_px=4096, max_pixels=4096 * 4096, max_bytes=64 << 20)
"""For photos that come over the wire or were made by this package."""

PHOTO = Limits(max_side_px=16384, max_pixels=100_000_000, max_bytes=256 << 20)
"""For secrets and covers, which come from the device's own disk."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself."""

    format: Format
    width: int
    height: int


def read(data: bytes, name: str) -> Header:
    """Read format, width and height.

    Args:
        data: The file's bytes; the first few hundred usually do.
        name: The file's name in errors.

    Raises:
        ImageError: Not PNG, JPEG, BMP or TIFF, or a header that ends too soon.
    """
    try:
        if data.startswith(PNG_SIGNATURE):
            if data[12:16] != b"IHDR":
                raise _damaged(name, "PNG")
            return Header("PNG", *struct.unpack_from(">II", data, 16))
        if data.startswith(b"\xff\xd8\xff"):
            return Header("JPEG", *_jpeg_size(data, name))
        if data.startswith(b"BM"):
            return Header("BMP", *_bmp_size(data))
        if data[:4] in (b"II*\0", b"MM\0*"):
            return Header("TIFF", *_tiff_size(data, name))
    except struct.error:
        raise ImageError(f"{name}: expected a whole image, got a header that ends too soon; copy it again") from None
    raise ImageError(f"{name}: expected a PNG, JPEG, BMP or TIFF image, got {_kind(data)}; check the file")


def check(header: Header, size_bytes: int, limits: Limits, name: str) -> None:
    """Refuse what is too large to decode, or has no pixels.

    Raises:
        ImageError: The file or its dimensions are over `limits`, or a side is 0.
    """
    if size_bytes > limits.max_bytes:
        raise ImageError(f"{name}: expected at most {limits.max_bytes} bytes, got {size_bytes}; use a smaller image")
    width, height = header.width, header.height
    if min(width, height) < 1:
        raise ImageError(f"{name}: expected an image with pixels, got {width}x{height}; check the file")
    if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
        raise ImageError(
            f"{name}: expected at most {limits.max_side_px} px a side and {limits.max_pixels} pixels, "
            f"got {width}x{height}; use a smaller image"
        )


def _jpeg_size(data: bytes, name: str) -> tuple[int, int]:
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == 0xFFFF:  # a fill byte may precede any marker
            position += 1
            continue
        if marker >> 8 != 0xFF or length < 2:
            raise _damaged(name, "JPEG")
        # SOF0..SOF15 carry the size; C4, C8 and CC in the same range are tables and an extension.
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height
        position += 2 + length


def _bmp_size(data: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # the OS/2 header has 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)  # negative: rows from the top


def _tiff_size(data: bytes, name: str) -> tuple[int, int]:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    size = {256: 0, 257: 0}
    for entry in range(count):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in size:
            (size[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, at + 8)
    if struct.unpack_from(order + "I", data, start + 2 + 12 * count)[0]:
        raise ImageError(f"{name}: expected a TIFF of one page, got several; save the page to use on its own")
    return size[256], size[257]


def _damaged(name: str, kind: Format) -> ImageError:
    return ImageError(f"{name}: expected a whole {kind}, got a damaged header; copy it again")


def _kind(data: bytes) -> str:
    """Name the usual mix-ups, so that the error says what to do."""
    if not data:
        return "an empty file"
    if data[128:132] == b"DICM":
        return "a DICOM file (convert it to PNG)"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP file"
    if data[:4] == b"GIF8":
        return "a GIF file"
    sample = data[:512]
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in sample):
        return "text"
    return "bytes of another kind"
