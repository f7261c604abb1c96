"""Mutated PNGs, each with what a server must make of it. The same seed gives the same bytes."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"

Chunks = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Mutant:
    """A damaged file.

    Attributes:
        kind: Name of the mutation.
        repaired: Checksums, and the compressed stream where it was changed, are right again.
        verdict: What must become of it; `either` where that depends on luck.
        stream: The filtered rows that it holds when it must be accepted.
    """

    data: bytes
    kind: str
    repaired: bool
    verdict: Literal["accept", "refuse", "either"]
    stream: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Seed:
    """A whole RGB PNG, taken apart."""

    size: int
    stream: bytes
    packed: bytes

    @property
    def row(self) -> int:
        return 1 + 3 * self.size

    def chunks(self, packed: bytes | None = None, **header: int) -> Chunks:
        return [
            (b"IHDR", ihdr(self.size, **header)),
            (b"IDAT", self.packed if packed is None else packed),
            (b"IEND", b""),
        ]

    @property
    def data(self) -> bytes:
        return join(self.chunks())


def seed(number: int, size: int) -> Seed:
    """A smooth picture with a little noise, every row with another filter."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:size, 0:size]
    phase = rng.uniform(0, 6.28, 3)
    image = np.stack([127 + 60 * np.sin(x / 19 + p) * np.cos(y / 23 + p) for p in phase], -1)
    image = (image + rng.integers(0, 4, image.shape)).astype(np.uint8)
    filters = rng.integers(0, 5, (size, 1), np.uint8)
    stream = np.concatenate([filters, image.reshape(size, -1)], 1).tobytes()
    return Seed(size, stream, zlib.compress(stream, 1))


def ihdr(size: int, **changes: int) -> bytes:
    fields = {"width": size, "height": size, "depth": 8, "colour": 2, "compression": 0, "filtering": 0, "interlace": 0}
    return struct.pack(">IIBBBBB", *(fields | changes).values())


def join(chunks: Chunks) -> bytes:
    parts = [SIGNATURE]
    for kind, body in chunks:
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)


def unfilter(stream: bytes, size: int) -> NDArray[np.uint8]:
    """The pixels of filtered rows, by the letter of the PNG standard: an independent reference, and slow."""
    above, rows = bytearray(3 * size), []
    for top in range(0, len(stream), 1 + 3 * size):
        kind, line = stream[top], bytearray(stream[top + 1 : top + 1 + 3 * size])
        for i in range(len(line)):
            a, b = (line[i - 3] if i >= 3 else 0), above[i]
            c = above[i - 3] if i >= 3 else 0
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            line[i] = (line[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        rows.append(bytes(line))
        above = line
    return np.frombuffer(b"".join(rows), np.uint8).reshape(-1, size, 3)


# Broken: no checksum is repaired.


def flip(r: random.Random, s: Seed) -> Mutant:
    data = bytearray(s.data)
    for _ in range(r.randint(1, 8)):
        data[r.randrange(len(data)) if r.random() < 0.5 else r.randrange(60)] ^= r.randint(1, 255)
    return Mutant(bytes(data), "flip", False, "refuse" if data != s.data else "either")


def cut(r: random.Random, s: Seed) -> Mutant:
    return Mutant(s.data[: r.randrange(len(s.data))], "cut", False, "refuse")


def remove(r: random.Random, s: Seed) -> Mutant:
    at = r.randrange(len(s.data) - 1)
    return Mutant(s.data[:at] + s.data[at + r.randint(1, 64) :], "remove", False, "refuse")


def insert(r: random.Random, s: Seed) -> Mutant:
    at = r.randrange(len(s.data))
    return Mutant(s.data[:at] + r.randbytes(r.randint(1, 64)) + s.data[at:], "insert", False, "either")


def lie_about_length(r: random.Random, s: Seed) -> Mutant:
    data = bytearray(s.data)
    at = r.choice([8, 33, len(data) - 12])
    old = bytes(data[at : at + 4])
    data[at : at + 4] = struct.pack(">I", r.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, r.randrange(1 << 32)]))
    return Mutant(bytes(data), "length", False, "refuse" if data[at : at + 4] != old else "either")


def splice(r: random.Random, s: Seed) -> Mutant:
    other = seed(r.randrange(4), 32).data
    return Mutant(s.data[: r.randrange(len(s.data))] + other[r.randrange(len(other)) :], "splice", False, "refuse")


def noise(r: random.Random, s: Seed) -> Mutant:
    return Mutant(SIGNATURE * r.randint(0, 1) + r.randbytes(r.randint(0, 4096)), "noise", False, "refuse")


# Repaired, and to be refused all the same.


def header(r: random.Random, s: Seed) -> Mutant:
    name = r.choice(["width", "height", "depth", "colour", "compression", "filtering", "interlace"])
    if name in ("width", "height"):
        value = r.choice([0, 1, s.size - 1, s.size + 1, 65535, 0x7FFFFFFF, 0xFFFFFFFF])
    else:
        value = r.choice([v for v in range(256) if v != {"depth": 8, "colour": 2}.get(name, 0)])
    return Mutant(join(s.chunks(**{name: value})), f"header {name}", True, "refuse")


def wrong_filter(r: random.Random, s: Seed) -> Mutant:
    stream = bytearray(s.stream)
    for _ in range(r.randint(1, 4)):
        stream[r.randrange(s.size) * s.row] = r.randint(5, 255)
    return Mutant(join(s.chunks(pack(r, bytes(stream)))), "filter unknown", True, "refuse")


def wrong_length(r: random.Random, s: Seed) -> Mutant:
    more = r.choice([-s.row, -1, 1, s.row, 1 << 20, -len(s.stream)])
    stream = s.stream[:more] if more < 0 else s.stream + bytes(more)
    return Mutant(join(s.chunks(pack(r, stream))), "stream length", True, "refuse")


def wrong_adler(r: random.Random, s: Seed) -> Mutant:
    packed = s.packed[:-4] + struct.pack(">I", zlib.adler32(s.stream) ^ r.randint(1, 0xFFFFFFFF))
    return Mutant(join(s.chunks(packed)), "adler", True, "refuse")


# Repaired, and luck decides.


def flip_packed(r: random.Random, s: Seed) -> Mutant:
    packed = bytearray(s.packed)
    for _ in range(r.randint(1, 4)):
        packed[r.randrange(len(packed)) if r.random() < 0.7 else r.randrange(8)] ^= 1 << r.randrange(8)
    return Mutant(join(s.chunks(bytes(packed))), "packed bits", True, "either")


def shuffle(r: random.Random, s: Seed) -> Mutant:
    chunks = [*s.chunks()[:1], *split(r, s.packed), (b"IEND", b"")]
    for _ in range(r.randint(1, 3)):
        at = r.randrange(len(chunks)) if chunks else 0
        match r.randrange(3):
            case 0:
                chunks.insert(r.randrange(len(chunks) + 1), r.choice(chunks or s.chunks()))
            case 1 if chunks:
                del chunks[at]
            case _ if chunks:
                chunks.insert(r.randrange(len(chunks)), chunks.pop(at))
    return Mutant(join(chunks), "chunk order", True, "either")


def trailing(r: random.Random, s: Seed) -> Mutant:
    junk = r.randbytes(r.randint(1, 300))
    if r.random() < 0.5:
        return Mutant(s.data + junk, "after the end", True, "either")
    return Mutant(join(s.chunks(s.packed + junk)), "after the stream", True, "either")


# Repaired, and to be accepted: these reach the engine.


def values(r: random.Random, s: Seed) -> Mutant:
    stream = bytearray(s.stream)
    for _ in range(r.randint(1, 200)):
        at = r.randrange(len(stream))
        stream[at] = r.randint(0, 4) if at % s.row == 0 else r.randint(0, 255)
    return Mutant(join(s.chunks(pack(r, bytes(stream)))), "values", True, "accept", bytes(stream))


def extra_chunks(r: random.Random, s: Seed) -> Mutant:
    kinds = [b"tEXt", b"zTXt", b"iCCP", b"gAMA", b"tRNS", b"PLTE", b"acTL", b"fdAT", b"eXIf", b"ZZZZ", r.randbytes(4)]
    chunks = s.chunks()
    for _ in range(r.randint(1, 5)):
        kind = r.choice([kind for kind in kinds if kind not in (b"IHDR", b"IDAT", b"IEND")])
        chunks.insert(r.randint(1, len(chunks) - 1), (kind, r.randbytes(r.randint(0, 600))))
    return Mutant(join(chunks), "extra chunks", True, "accept", s.stream)


def many_chunks(r: random.Random, s: Seed) -> Mutant:
    chunks = [*s.chunks()[:1], *split(r, pack(r, s.stream)), (b"IEND", b"")]
    return Mutant(join(chunks), "many chunks", True, "accept", s.stream)


def pack(r: random.Random, stream: bytes) -> bytes:
    """Deflate in one of the many ways that the format allows."""
    strategy = r.choice([zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
    deflate = zlib.compressobj(r.choice([0, 1, 1, 6]), zlib.DEFLATED, r.randint(9, 15), r.randint(1, 9), strategy)
    return deflate.compress(stream) + deflate.flush()


def split(r: random.Random, packed: bytes) -> Chunks:
    """IDAT chunks of any length, 0 included."""
    marks = sorted(r.randrange(len(packed) + 1) for _ in range(r.choice([1, 3, 100])))
    return [(b"IDAT", packed[a:b]) for a, b in zip([0, *marks], [*marks, len(packed)], strict=True)]


MUTATIONS: dict[str, tuple[Callable[[random.Random, Seed], Mutant], ...]] = {
    "broken": (flip, cut, remove, insert, lie_about_length, splice, noise),
    "repaired": (header, wrong_filter, wrong_length, wrong_adler, flip_packed, shuffle, trailing),
    "accepted": (values, extra_chunks, many_chunks),
}


def mutant(number: int, seeds: list[Seed], accepted_share: float) -> Mutant:
    """Mutant `number`: four tenths broken, the others repaired, of which `accepted_share` of all reach the engine."""
    r = random.Random(number)
    lot = r.random()
    group = "broken" if lot < 0.4 else "accepted" if lot > 1 - accepted_share else "repaired"
    return r.choice(MUTATIONS[group])(r, r.choice(seeds))
