"""Secrets and covers: reading image files of the usual formats, and fitting them to the network and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import headers, png
from hidemia.runtime.arrays import Image, check_image
from hidemia.runtime.errors import ImageError
from hidemia.runtime.headers import Limits

__all__ = ["decode", "fit", "load", "read_bytes", "scale_mask"]


def load(path: str | Path, *, limits: Limits = headers.PHOTO) -> Image:
    """Read a PNG, JPEG, BMP or TIFF file.

    Args:
        path: Grey, RGB or RGBA, 8 or 16 bits a value.
        limits: Refused before decoding when larger.

    Returns:
        uint8 (H, W, 3), RGB, at least 32 px a side. 16-bit values keep their full scale (divided by 257); an
        alpha channel that is opaque everywhere is dropped; a JPEG is turned as its orientation tag says.

    Raises:
        ImageError: No such file, not such an image, damaged, too large, too small, or really transparent.
    """
    return decode(read_bytes(path, limits=limits), limits=limits, name=str(path))


def read_bytes(path: str | Path, *, limits: Limits = headers.PHOTO) -> bytes:
    """Read a file's bytes after looking at its size.

    Raises:
        ImageError: No such file, not readable, or over the limit.
    """
    path = Path(path)
    try:
        size_bytes = path.stat().st_size
        if size_bytes > limits.max_bytes:
            raise ImageError(
                f"{path}: expected at most {limits.max_bytes} bytes, got {size_bytes}; use a smaller image"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path}: expected an image file, got no such file; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: expected an image file, got a folder; name a file in it") from None
    except OSError as error:
        raise ImageError(
            f"{path}: expected a readable image file, got {error.strerror}; check its permissions"
        ) from None


def decode(data: bytes, *, limits: Limits = headers.PHOTO, name: str = "image") -> Image:
    """Decode the bytes of an image file; as `load`, with a name for errors."""
    header = headers.read(data, name)
    headers.check(header, len(data), limits, name)
    if header.format == "PNG":
        pixels: NDArray[Any] | None = png.decode_any(data, limits=limits, name=name)
    elif header.format == "JPEG":
        # Some decoders fill what is missing with grey. A whole file has an end marker after its last scan.
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise ImageError(f"{name}: expected a whole JPEG, got one that is cut short; copy it again")
        pixels = _imdecode(data, cv2.IMREAD_COLOR)
    else:
        pixels = _imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(f"{name}: expected a {header.format} that can be decoded, got a damaged one; copy it again")
    return check_image(_to_rgb(pixels, name), name)


def fit(image: Image, size_px: int) -> Image:
    """Scale to the network's square: by area where a side shrinks, linearly where it grows.

    Args:
        image: uint8 (H, W, 3), RGB. The aspect ratio is not kept.
        size_px: The network's side.

    Returns:
        uint8 (size_px, size_px, 3); the same array when it has that size already.
    """
    height, width = min(image.shape[0], size_px), min(image.shape[1], size_px)
    if (height, width) != image.shape[:2]:
        image = _resize(image, width, height, cv2.INTER_AREA)
    if (height, width) != (size_px, size_px):
        image = _resize(image, size_px, size_px, cv2.INTER_LINEAR)
    return image


def scale_mask(mask: Image, size: tuple[int, int]) -> Image:
    """Scale a mask (H, W) to `size` (height, width), nearest neighbour, so that it keeps its values."""
    return _resize(mask, size[1], size[0], cv2.INTER_NEAREST_EXACT)


def _resize(image: Image, width: int, height: int, how: int) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), dtype=np.uint8)


def _imdecode(data: bytes, flags: int) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _to_rgb(pixels: NDArray[Any], name: str) -> Image:
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(f"{name}: expected 8 or 16 bits a value, got {pixels.dtype}; convert it first")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.shape[2] == 4:
        if pixels[..., 3].min() < 255:
            raise ImageError(f"{name}: expected an opaque image, got one with transparent pixels; flatten it first")
        pixels = pixels[..., :3]
    return np.ascontiguousarray(pixels[..., ::-1])
