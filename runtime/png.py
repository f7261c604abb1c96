"""PNG in and out, exactly: every chunk is checked before the decoder runs, only what is needed is written.

Decoders pass some damaged files without a word and print a line of their own for others, so the container,
its checksums and the length of the pixel stream are checked here first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import headers
from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import ImageError
from hidemia.runtime.headers import PNG_SIGNATURE, Limits

__all__ = ["decode", "decode_any", "encode", "encode_mask"]

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGBA"}
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_BLOCK_BYTES = 1 << 20

# Adam7: first column, first row, column step, row step of each pass.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True, slots=True)
class _Layout:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    def row_bytes(self, width: int) -> int:
        """Bytes of a row of the pixel stream, with the filter byte that begins it."""
        return 1 + (width * self.depth * _CHANNELS[self.colour] + 7) // 8

    def stream_bytes(self) -> int:
        if not self.interlaced:
            return self.height * self.row_bytes(self.width)
        total = 0
        for x, y, dx, dy in _PASSES:
            columns, rows = (self.width - x + dx - 1) // dx, (self.height - y + dy - 1) // dy
            if columns > 0 and rows > 0:
                total += rows * self.row_bytes(columns)
        return total


def encode(image: Image) -> bytes:
    """Encode an image as a PNG of nothing but IHDR, IDAT and IEND.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        The file's bytes, the same for the same pixels.
    """
    return _encode(image[..., ::-1])


def encode_mask(mask: Image) -> bytes:
    """Encode a mask, uint8 (H, W), as a grey PNG of the same three chunks."""
    return _encode(mask)


def _encode(image: Image) -> bytes:
    # A stego's low bits are noise, in which deflate finds no repeats: searching for runs alone takes two thirds of
    # the time of the fastest level with a full search, and the file is 5 % smaller.
    how = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    done, data = cv2.imencode(".png", image, how)
    if not done:
        raise ImageError(f"image: expected an array that fits a PNG, got {image.dtype} {image.shape}; check it")
    chunks = [(kind, body) for kind, body in _walk(data.tobytes(), "image") if kind in (b"IHDR", b"IDAT", b"IEND")]
    return _join(chunks)


def decode(data: bytes, *, limits: Limits = headers.WIRE, name: str = "image") -> Image:
    """Decode a stego or a reply: an 8-bit RGB PNG, whole, with not a value changed.

    Args:
        data: The file's bytes.
        limits: Refused before decoding when larger.
        name: The image's name in errors.

    Returns:
        uint8 (H, W, 3), RGB. Colour profiles, gamma and transparency keys are ignored.

    Raises:
        ImageError: Not a PNG, over the limits, damaged, cut short, or not 8-bit RGB.
    """
    if not data.startswith(PNG_SIGNATURE):
        kind = headers.read(data, name).format
        raise ImageError(f"{name}: expected a PNG, got a {kind}, which destroys what is hidden; send it as PNG")
    layout, chunks = _check(data, limits, name)
    if layout.depth != 8 or layout.colour != 2:
        raise ImageError(
            f"{name}: expected an 8-bit RGB PNG, got {layout.depth}-bit {_COLOURS[layout.colour]}; "
            "pass it exactly as it was made"
        )
    pixels = _pixels(_join([chunk for chunk in chunks if chunk[0] in (b"IHDR", b"IDAT", b"IEND")]), name)
    return np.ascontiguousarray(pixels[..., ::-1])


def decode_any(data: bytes, *, limits: Limits = headers.PHOTO, name: str = "image") -> NDArray[Any]:
    """Decode a PNG of any colour type and depth, with the same checks.

    Returns:
        uint8 or uint16, (H, W), (H, W, 3) BGR or (H, W, 4) BGRA.

    Raises:
        ImageError: Not a PNG, over the limits, damaged or cut short.
    """
    _, chunks = _check(data, limits, name)
    return _pixels(_join([chunk for chunk in chunks if chunk[0] in _KEPT]), name)


def _pixels(data: bytes, name: str) -> NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageError(f"{name}: expected a PNG that can be decoded, got a damaged one; copy it again")
    return pixels


def _check(data: bytes, limits: Limits, name: str) -> tuple[_Layout, list[tuple[bytes, bytes]]]:
    headers.check(headers.read(data, name), len(data), limits, name)
    chunks = list(_walk(data, name))
    kind, body = chunks[0]
    if kind != b"IHDR" or len(body) != 13:
        raise _damaged(name, "its first chunk is not IHDR")
    if sum(kind == b"IHDR" for kind, _ in chunks) > 1:
        raise _damaged(name, "it has a second IHDR")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    if colour not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or compression or filtering or interlace > 1:
        raise _damaged(name, "its header has unknown values")
    layout = _Layout(width, height, depth, colour, interlace == 1)
    _check_stream(b"".join(body for kind, body in chunks if kind == b"IDAT"), layout, name)
    return layout, chunks


def _walk(data: bytes, name: str) -> list[tuple[bytes, bytes]]:
    """Every chunk up to IEND, its checksum verified."""
    chunks: list[tuple[bytes, bytes]] = []
    position = len(PNG_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if position + 12 > len(data):
            raise _damaged(name, "it ends before its last chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _damaged(name, "it ends inside a chunk")
        body = data[position + 8 : end - 4]
        if struct.unpack_from(">I", data, end - 4)[0] != zlib.crc32(body, zlib.crc32(kind)):
            raise _damaged(name, "a checksum does not match")
        chunks.append((kind, body))
        position = end
    return chunks


def _check_stream(compressed: bytes, layout: _Layout, name: str) -> None:
    """Inflate the pixel stream, in blocks that are dropped, to see that all of it is there and no more."""
    expected, row = layout.stream_bytes(), layout.row_bytes(layout.width)
    inflate, got = zlib.decompressobj(), 0
    try:
        while not inflate.eof and got <= expected:
            block = inflate.decompress(compressed, _BLOCK_BYTES)
            if not block and not inflate.eof:
                break
            if not layout.interlaced and max(block[-got % row :: row], default=0) > 4:
                raise _damaged(name, "a row has an unknown filter")
            got += len(block)
            compressed = inflate.unconsumed_tail
    except zlib.error:
        raise _damaged(name, "its pixel data cannot be inflated") from None
    if got != expected or not inflate.eof:
        raise _damaged(name, f"it holds {got} of {expected} bytes of pixel data")
    if inflate.unused_data:
        raise _damaged(name, "bytes follow its pixel data")


def _join(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [PNG_SIGNATURE]
    for kind, body in chunks:
        parts += [
            struct.pack(">I", len(body)),
            kind,
            body,
            struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))),
        ]
    return b"".join(parts)


def _damaged(name: str, why: str) -> ImageError:
    return ImageError(f"{name}: expected a whole PNG, got a damaged one ({why}); copy or send it again")
