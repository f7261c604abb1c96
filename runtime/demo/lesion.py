"""The lesion of a simulated scan: where it lies, how its border runs, and what it does to sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.demo.field import Floats

Label = Literal["benign", "malignant"]


@dataclass(frozen=True)
class Lesion:
    """A mass and its acoustics; lengths as fractions of the image's side, levels in decibels.

    A benign mass is oval, smooth, wider than tall, and passes sound better than its surroundings. A malignant
    one is irregular and spiculated, often as tall as wide, wears an echogenic halo of reacting tissue, and
    its fibrous stroma absorbs sound. A cyst is benign and holds fluid that scatters nothing.
    """

    label: Label
    centre: tuple[float, float]
    """Depth and lateral position, 0 to 1."""
    radii: tuple[float, float]
    """Half height and half width."""
    border: NDArray[np.float64]
    """(orders, 2): cosine and sine weights of the relative radius, order 2 first."""
    spicules: NDArray[np.float64]
    """(n, 3): direction in radians, relative length, angular width in radians; none on a benign mass."""
    contrast_db: float
    """Echo level inside, against the tissue around; negative."""
    texture_db: float
    """How much the echo level varies inside."""
    halo_db: float
    """Echo level of the rim of reacting tissue, above the tissue around."""
    margin: float
    """Width over which the border blurs."""
    loss_db: float
    """Two-way loss through its full height: positive shadows what lies behind, negative brightens it."""

    def reach(self, depth: Floats, lateral: Floats, *, spiculated: bool) -> Floats:
        """Measure how far each point lies from the centre, in units of the border's radius in its direction.

        Args:
            depth: Depths, any shape that broadcasts with `lateral`, 0 to 1.
            lateral: Lateral positions, 0 to 1.
            spiculated: Count the spicules in. The truth leaves them out, as people who outline lesions do.

        Returns:
            float32, below 1 inside, above 1 outside.
        """
        down = (depth - self.centre[0]) / self.radii[0]
        right = (lateral - self.centre[1]) / self.radii[1]
        angle = np.arctan2(down, right)
        radius = np.ones_like(angle)
        for order, (cosine, sine) in enumerate(self.border, start=2):
            radius = radius + cosine * np.cos(order * angle) + sine * np.sin(order * angle)
        radius = np.maximum(radius, 0.45)
        if spiculated:
            for direction, length, width in self.spicules:
                off = np.angle(np.exp(1j * (angle - direction)))
                radius = radius + length * np.exp(-((off / width) ** 2))
        return np.asarray(np.hypot(down, right) / radius, dtype=np.float32)


def draw(rng: np.random.Generator) -> Lesion:
    """Draw a lesion as they occur: a third malignant, areas from 3 % to 30 %, mostly upper middle."""
    malignant = rng.random() < 0.34
    cyst = not malignant and rng.random() < 0.25
    area = float(np.clip(np.exp(rng.normal(np.log(0.095 if malignant else 0.065), 0.6)), 0.033, 0.27))
    aspect = float(np.exp(rng.normal(0.12 if malignant else 0.42, 0.2)))
    if cyst:
        area, aspect = min(area, 0.12), min(aspect, 1.6)
    aspect = min(aspect, 0.75 / area)
    half_height = float(np.sqrt(area / np.pi / aspect))
    half_width = half_height * aspect
    centre = (
        float(np.clip(rng.normal(0.32, 0.1), half_height * 1.1 + 0.05, 0.9 - half_height)),
        float(np.clip(rng.normal(0.49, 0.13), min(half_width + 0.02, 0.5), max(0.98 - half_width, 0.5))),
    )
    orders = 9 if malignant else 4
    roughness = rng.uniform(0.06, 0.11) if malignant else rng.uniform(0.015, 0.05)
    border = rng.normal(0, roughness, (orders, 2)) / np.arange(1, orders + 1)[:, None] ** 0.6
    count = int(rng.integers(3, 9)) if malignant else 0
    spicules = np.stack(
        [rng.uniform(-np.pi, np.pi, count), rng.uniform(0.1, 0.45, count), rng.uniform(0.05, 0.2, count)],
        axis=1,
    )
    half_loss = half_height / 0.17
    if malignant:
        loss = rng.uniform(3, 22)
    elif cyst:
        loss = -rng.uniform(7, 13) * min(1.3, half_loss)
    else:
        loss = -rng.uniform(-1, 10) * min(1.3, half_loss)
    return Lesion(
        label="malignant" if malignant else "benign",
        centre=centre,
        radii=(half_height, half_width),
        border=border,
        spicules=spicules,
        contrast_db=float(-rng.uniform(26, 36) if cyst else -rng.uniform(8, 17)),
        texture_db=float(rng.uniform(1.0, 4.0)),
        halo_db=float(rng.uniform(1, 6) if malignant else 0.0),
        margin=float(rng.uniform(0.08, 0.22) if malignant else rng.uniform(0.05, 0.13)),
        loss_db=float(loss),
    )
