"""A simulated B-mode scan of a breast with one lesion and its known outline.

The physics, as far as a page of numpy carries it: tissue is a cloud of scatterers far finer than the pulse,
so what the transducer hears is a complex Gaussian field, weighted by the tissue's echogenicity and convolved
with the pulse (Wagner and others, Statistics of speckle in ultrasound B-scans, 1983). Its magnitude is
Rayleigh distributed: fully developed speckle. Smooth interfaces across the beam add a coherent mirror-like
echo. Sound is absorbed on the way, the machine's time gain curve gives back what the average tissue takes,
and what a lesion absorbs more or less than that stays visible behind it as shadow or enhancement. Log
compression brings the rest to grey levels.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.demo import lesion as lesions
from hidemia.runtime.demo.field import Floats, smooth, step, wave
from hidemia.runtime.demo.lesion import Label, Lesion

SIDE = 448
"""Samples of the simulated field along depth and width: twice what is shown, so that speckle is resolved."""
LOOKS = 5
"""Looks that the scanner averages."""
MARGIN = 32
"""Samples simulated beyond either side and cut off, because the filters wrap around."""


@dataclass(frozen=True)
class Scan:
    """A scan and its truth.

    Attributes:
        image: uint8 (H, W), grey levels of the B-mode image.
        mask: uint8 (H, W), 255 on the lesion and 0 elsewhere.
        label: What kind of lesion it is.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    label: Label


class Tissue(NamedTuple):
    """What sound meets, each float32 (SIDE, SIDE + 2 MARGIN)."""

    echo_db: Floats
    """Level of the diffuse echo."""
    mirror_db: Floats
    """Level of the coherent echo from smooth interfaces."""


def simulate(seed: int, size_px: int = 224) -> Scan:
    """Simulate one scan; the same seed gives the same scan.

    Args:
        seed: Seed >= 0.
        size_px: Side of the square image, in pixels.

    Returns:
        The scan, its truth and its label.
    """
    rng = np.random.default_rng(seed)
    depth = np.asarray(np.arange(SIDE) / SIDE, dtype=np.float32)[:, None]
    lateral = np.asarray((np.arange(SIDE + 2 * MARGIN) - MARGIN) / SIDE, dtype=np.float32)[None, :]
    lesion = lesions.draw(rng)
    tissue = _with_lesion(rng, lesion, _breast(rng, depth), depth, lateral)
    level = _transmission_db(rng, lesion, depth, lateral)
    beam, pulse = rng.uniform(0.8, 1.4), rng.uniform(1.25, 1.5)
    echo, mirror = tissue.echo_db + level, tissue.mirror_db + level
    # Scanners compound: they average looks from several angles, which differ in speckle, not in anatomy.
    looks = [envelope(rng, echo, mirror, beam=beam, pulse=pulse, focus=lesion.centre[0]) for _ in range(LOOKS)]
    heard = np.asarray(np.mean(looks, axis=0), dtype=np.float32)
    grey = _grey(rng, heard, depth)[:, MARGIN:-MARGIN]
    inside = lesion.reach(depth, lateral[:, MARGIN:-MARGIN], spiculated=False) < 1
    image = cv2.resize(grey, (size_px, size_px), interpolation=cv2.INTER_AREA)
    covered = cv2.resize(inside.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_AREA)
    return Scan(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        mask=np.where(covered >= 0.5, 255, 0).astype(np.uint8),
        label=lesion.label,
    )


def envelope(
    rng: np.random.Generator, echo_db: Floats, mirror_db: Floats, *, beam: float, pulse: float, focus: float
) -> Floats:
    """Hear a scattering medium through the transducer: the magnitude of the demodulated echo.

    The carrier is left out, because demodulation takes it away again: at base band the pulse is its envelope,
    and the random phase of the scatterers is already uniform. Along depth the pulse is short and constant;
    across, the beam is narrowest at the focus and widens away from it.

    Args:
        rng: Source of the scatterers.
        echo_db: Diffuse level, (depths, lateral samples), dB.
        mirror_db: Coherent level, same shape, dB.
        beam: Standard deviation of the beam's profile at the focus, in samples, > 0.
        pulse: Standard deviation of the pulse's envelope, in samples, > 0.
        focus: Depth of the focus, 0 to 1.

    Returns:
        float32, same shape, >= 0; its mean square is that of `echo_db` where the medium is homogeneous.
    """
    rows, columns = echo_db.shape
    scatterers = (rng.standard_normal((rows, columns)) + 1j * rng.standard_normal((rows, columns))) / np.sqrt(2)
    field = scatterers * 10 ** (echo_db / 20) + 10 ** (mirror_db / 20)
    away = np.arange(rows)[:, None] / rows - focus
    width = beam * np.sqrt(1 + (away / 0.45) ** 2)
    across = np.exp(-2 * (np.pi * width * np.fft.fftfreq(columns)[None, :]) ** 2)
    along = np.exp(-2 * (np.pi * pulse * np.fft.fftfreq(rows)[:, None]) ** 2)
    field = np.fft.ifft(np.fft.fft(field, axis=1) * across, axis=1)
    field = np.fft.ifft(np.fft.fft(field, axis=0) * along, axis=0)
    power = (across**2).mean(axis=1, keepdims=True) * (along**2).mean()
    return np.asarray(np.abs(field) / np.sqrt(power), dtype=np.float32)


def _breast(rng: np.random.Generator, depth: Floats) -> Tissue:
    """Lay skin, fat, gland, muscle and chest wall on top of each other, and bend them."""
    shape = (SIDE, SIDE + 2 * MARGIN)
    bases = np.cumsum(
        [rng.uniform(0.015, 0.05), rng.uniform(0.05, 0.25), rng.uniform(0.25, 0.5), rng.uniform(0.06, 0.2)]
    )
    tilt = rng.normal(0, 0.05) * np.linspace(-1, 1, shape[1], dtype=np.float32)
    edges = []
    for number, base in enumerate(bases):
        rough = (0.003, 0.02, 0.03, 0.015)[number] * wave(rng, shape[1], rng.uniform(25, 60))
        edges.append((base + rough + tilt * min(number, 1.5))[None, :].astype(np.float32))
    levels = [
        -5 + smooth(rng, shape, (2, 30)),
        rng.uniform(-14, -8) + 2.5 * smooth(rng, shape, (9, 20)) + 1.5 * smooth(rng, shape, (2.5, 12)),
        rng.uniform(-7, -2) + _gland(rng, shape),
        rng.uniform(-15, -9) + rng.uniform(2, 4) * smooth(rng, shape, (2.5, 40)) + 3 * smooth(rng, shape, (9, 30)),
        rng.uniform(-24, -13) + 4.0 * smooth(rng, shape, (8, 40)),
    ]
    echo = levels[0]
    for edge, level in zip(edges, levels[1:], strict=True):
        echo = echo + (level - echo) * step(depth - edge, 0.006)
    echo = echo + rng.uniform(1, 3) * smooth(rng, shape, (1.8, 7))
    mirror = np.full(shape, -60.0, dtype=np.float32)
    for number, edge in enumerate(edges):
        thin = np.exp(-(((depth - edge) / 0.004) ** 2))
        broken = rng.uniform(-10, 0) + 8 * smooth(rng, (1, shape[1]), (0, 18)) - (6 if number in {1, 3} else 2)
        mirror = np.maximum(mirror, broken + 20 * np.log10(thin + 1e-3))
    septa = _septa(rng, shape, (rng.uniform(6, 11), rng.uniform(14, 30))) + rng.uniform(-16, -7)
    fibres = _septa(rng, shape, (rng.uniform(3.5, 5.5), rng.uniform(15, 35))) + rng.uniform(-22, -9)
    fatty = step(depth - edges[0], 0.01) * (1 - step(depth - edges[2], 0.02))
    muscular = step(depth - edges[2], 0.02)
    mirror = np.maximum(mirror, np.maximum(septa + 40 * (fatty - 1), fibres + 40 * (muscular - 1)))
    return Tissue(*_bent(rng, echo.astype(np.float32), mirror.astype(np.float32)))


def _gland(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Vary the fibroglandular layer: bright fibrous tissue with dark lobules of fat, in dB."""
    lobules = step(smooth(rng, shape, (9, 18)) - rng.uniform(0.2, 1.4), 0.3)
    strands = smooth(rng, shape, (2.5, 9))
    patches = smooth(rng, shape, (16, 26))
    grain = rng.uniform(1.0, 3.5)
    return np.asarray(grain * strands + 2 * patches - rng.uniform(3, 9) * lobules, dtype=np.float32)


def _septa(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float]) -> Floats:
    """Draw connective-tissue septa: thin sheets, brightest where they lie across the beam, in dB."""
    sheet = smooth(rng, shape, scale)
    down, right = np.gradient(sheet)
    steepness = np.hypot(down, right) + 1e-6
    distance = np.abs(sheet) / steepness
    across = (np.abs(down) / steepness) ** 4
    patches = 7 * smooth(rng, shape, (5, 9)) + 4 * smooth(rng, shape, (20, 30)) - 7
    return np.asarray(20 * np.log10(np.exp(-((distance / 1.8) ** 2)) * across + 1e-3) + patches, dtype=np.float32)


def _bent(rng: np.random.Generator, *maps: Floats) -> tuple[Floats, ...]:
    """Shift depths smoothly, the same in every map, so that no layer is straight."""
    shape = maps[0].shape
    shift = rng.uniform(4, 14) * smooth(rng, (shape[0], shape[1]), (60, 50))
    rows, columns = (np.asarray(axis, dtype=np.float32) for axis in np.indices(shape))
    shift = np.asarray(shift * np.minimum(1, rows / 60), dtype=np.float32)
    return tuple(
        np.asarray(cv2.remap(m, columns, rows + shift, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
        for m in maps
    )


def _with_lesion(rng: np.random.Generator, lesion: Lesion, tissue: Tissue, depth: Floats, lateral: Floats) -> Tissue:
    """Put the lesion in: it displaces the tissue and its interfaces, and may wear a halo or a capsule."""
    outline = lesion.reach(depth, lateral, spiculated=True)
    ragged = 0.9 if lesion.label == "malignant" else 0.5
    reach = outline + ragged * lesion.margin * 0.5 * smooth(rng, tissue.echo_db.shape, (3, 5))
    inside = step(1 - reach, lesion.margin)
    around = float(np.median(tissue.echo_db[(reach > 1) & (reach < 1.5)]))
    texture = lesion.texture_db * smooth(rng, tissue.echo_db.shape, (6, 10))
    level = max(around, -12.0) + lesion.contrast_db + texture
    halo = lesion.halo_db * np.exp(-(((reach - 1.18) / 0.13) ** 2))
    echo = tissue.echo_db + halo + (level - tissue.echo_db) * inside
    mirror = tissue.mirror_db - 40 * step(1.05 - reach, 0.05)
    if lesion.label == "benign":
        # A smooth capsule mirrors sound where it lies across the beam: at the top and the bottom.
        rim = np.exp(-(((outline - 1.0) / 0.03) ** 2))
        facing = np.abs(depth - lesion.centre[0]) / (lesion.radii[0] * np.maximum(outline, 0.3))
        mirror = np.maximum(mirror, rng.uniform(-14, -4) + 20 * np.log10(rim * np.minimum(facing, 1) ** 4 + 1e-3))
    return Tissue(echo.astype(np.float32), mirror.astype(np.float32))


def _transmission_db(rng: np.random.Generator, lesion: Lesion, depth: Floats, lateral: Floats) -> Floats:
    """Sum what sound loses on the way, less what the time gain curve gives back, in dB."""
    width = lateral.shape[1]
    inside = step(1 - lesion.reach(depth, lateral, spiculated=False), 0.1)
    loss = np.cumsum(inside, axis=0) / SIDE * lesion.loss_db / (2 * lesion.radii[0])
    loss = loss * (1 + 0.25 * wave(rng, width, 10))[None, :]
    # Strands, folds and bad contact above shade single beams all the way down.
    beams = np.minimum(0, rng.uniform(0, 5) * wave(rng, width, rng.uniform(10, 30)) - 1.5)[None, :]
    beams = beams * np.minimum(1, 3 * np.maximum(depth - rng.uniform(0, 0.3), 0))
    side = -rng.uniform(0, 14) * np.clip(np.abs(lateral - rng.uniform(0.35, 0.65)) * 2 - 0.4, 0, 1) ** 2
    residue = rng.normal(0, 1.5) * np.sin(2 * np.pi * (depth * rng.uniform(0.6, 1.6) + rng.random()))
    fall = -rng.uniform(3, 26) * np.maximum(depth - rng.uniform(0.3, 0.6), 0) / 0.5
    total = -loss + beams + side + residue + fall
    # Neighbouring beams overlap the deeper they run, so shadows have soft sides.
    return np.asarray(cv2.GaussianBlur(total.astype(np.float32), (0, 0), sigmaX=5, sigmaY=1), dtype=np.float32)


def _grey(rng: np.random.Generator, heard: Floats, depth: Floats) -> Floats:
    """Compress the envelope to grey levels as a scanner does, float32 in 0..255."""
    gained_noise = 10 ** ((rng.uniform(-62, -54) + 8 * depth) / 20)
    hiss = np.hypot(rng.standard_normal(heard.shape), rng.standard_normal(heard.shape)) * gained_noise
    level = 20 * np.log10(np.hypot(heard, hiss) + 1e-6)
    span = rng.uniform(50, 60)
    # The sonographer turns the gain until the bright tissue nearly fills the grey scale.
    top = np.percentile(level, 99) + rng.uniform(1, 6)
    share = np.clip((level - top) / span + 1, 0, 1)
    share = share ** rng.uniform(1.4, 2.4)
    smooth_share = cv2.GaussianBlur(share.astype(np.float32), (0, 0), sigmaX=1.05, sigmaY=1.15)
    return np.asarray(255 * smooth_share, dtype=np.float32)


def write_dataset(folder: Path, count: int, seed: int) -> None:
    """Write a data folder: `images/`, `masks/` and `index.csv`, every row in split `train`.

    Args:
        folder: Where to; made if missing, files of the same names replaced.
        count: How many scans, >= 1.
        seed: Seed of the folder, >= 0; folders of different seeds share no scan.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    children = np.random.SeedSequence(seed).generate_state(count, np.uint64)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("image", "mask", "label", "split", "group"))
        for number, child in enumerate(children, start=1):
            scan = simulate(int(child), 256)
            name = f"simulated_{number:05d}"
            image, mask = f"images/{name}.png", f"masks/{name}.png"
            if not (cv2.imwrite(str(folder / image), scan.image) and cv2.imwrite(str(folder / mask), scan.mask)):
                msg = f"cannot write {folder / image}"
                raise OSError(msg)
            rows.writerow((image, mask, scan.label, "train", name))


def main(arguments: list[str]) -> int:
    """Write a data folder from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hidemia.runtime.demo.scan",
        description="Write simulated scans with their masks and an index.csv, every row in split train.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; files of the same names are replaced")
    parser.add_argument("--count", type=int, default=500, help="how many scans (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="folders of different seeds share no scan (default 0)")
    given = parser.parse_args(arguments)
    if given.count < 1 or given.seed < 0:
        parser.error(f"--count, --seed: expected at least 1 and 0, got {given.count} and {given.seed}")
    try:
        write_dataset(given.out, given.count, given.seed)
    except OSError as error:
        parser.exit(1, f"{given.out}: expected a folder that can be written, got {error}; choose another --out\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
