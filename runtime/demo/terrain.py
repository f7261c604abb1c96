"""Land to photograph: fractal mountains over a lake, as a height and a colour at every place."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidemia.runtime.demo.field import Floats, fractal, step

GRID = 512
"""Samples of each field along both axes; fields repeat beyond."""
CELLS = 44.0
"""Samples per unit of length, so that a field repeats after about twelve units."""


@dataclass(frozen=True)
class Terrain:
    """A landscape without a border; its unit is a few hundred metres, the lake's surface is at height 0."""

    coarse: Floats
    """Field that makes mountains, (GRID, GRID), standard deviation 1."""
    fine: Floats
    """Field that is laid over it at ever smaller scales, same shape, standard deviation 1."""
    shore: float
    """Distance at which the lake ends, > 0."""
    rise: float
    """Height of the mountains, > 0."""
    snow: float
    """Height above which snow lies where it isn't steep."""
    meadow: tuple[float, float, float]
    """Colour of what grows, linear RGB 0 to 1."""
    rock: tuple[float, float, float]
    """Colour of rock, linear RGB 0 to 1."""

    def height(self, x: Floats, z: Floats) -> Floats:
        """Give the height of the ground.

        Ridges come from folding a fractal field at zero, as in Musgrave's ridged multifractal: crests stay
        sharp and valleys round. Finer copies of another field add roughness that shrinks with its scale, as
        it does on eroded land.

        Args:
            x: Places to the right of the camera.
            z: Places in front of it, same shape.

        Returns:
            float32, same shape.
        """
        rough = _at(self.coarse, x, z)
        ridge = 1.0 - np.abs(_at(self.coarse, x * 0.55 + 3.1, z * 0.55 + 7.7))
        inland = np.maximum(z - self.shore, 0)
        ramp = 1 - np.exp(-((inland / 7.0) ** 1.5))
        land = ramp * self.rise * (0.75 + 0.42 * ridge + 0.25 * rough)
        hills = 0.10 * rough + 0.05
        detail = 0.03 * _at(self.fine, x * 3, z * 3) + 0.006 * _at(self.fine, x * 13, z * 13)
        near_lake = 0.22 * np.clip((z - self.shore) / 1.2, -1, 1)
        return np.asarray(land + hills + near_lake + detail * (0.35 + ramp), dtype=np.float32)

    def colour(self, x: Floats, z: Floats, height: Floats, flatness: Floats) -> Floats:
        """Give the ground's colour: snow high up and flat, rock where it's steep, else grass and woods.

        Args:
            x: Places to the right of the camera.
            z: Places in front of it, same shape.
            height: Heights there.
            flatness: Vertical part of the surface's normal there, 0 to 1.

        Returns:
            float32 (..., 3), linear RGB, 0 to 1.
        """
        patch = _at(self.fine, x * 2 + 1.3, z * 2)
        grain = 0.5 * _at(self.fine, x * 9, z * 9 + 2.0) + 0.5 * _at(self.fine, x * 37, z * 37)
        woods = step(patch + 0.3 * grain - 0.1, 0.25)[..., None]
        grass = np.asarray(self.meadow, np.float32) * np.exp(0.22 * grain + 0.15 * patch)[..., None]
        trees = np.array([0.028, 0.048, 0.02], np.float32) * np.exp(0.45 * grain)[..., None]
        ground = grass + (trees - grass) * woods
        bands = _at(self.fine, x * 0.5, height * 14)
        stone = np.asarray(self.rock, np.float32) * np.exp(0.2 * grain + 0.15 * bands)[..., None]
        treeline = 0.62 * self.snow + 0.12 * patch
        bare = np.maximum(step(0.74 + 0.05 * grain - flatness, 0.06), step(height - treeline, 0.12))
        ground = ground + (stone - ground) * bare[..., None]
        sand = np.array([0.24, 0.2, 0.15], np.float32) * np.exp(0.2 * grain)[..., None]
        ground = ground + (sand - ground) * step(0.025 + 0.01 * patch - height, 0.012)[..., None]
        white = np.array([0.8, 0.83, 0.88], np.float32) * np.exp(0.06 * grain)[..., None]
        high = step(height - self.snow + 0.22 * patch + 0.1 * grain, 0.08)[..., None]
        flat = step(flatness - 0.55 + 0.06 * grain, 0.08)[..., None]
        return np.asarray(ground + (white - ground) * high * flat, dtype=np.float32)


def draw(rng: np.random.Generator) -> Terrain:
    """Draw a landscape."""
    return Terrain(
        coarse=fractal(rng, (GRID, GRID), 2.25, outer=2.5),
        fine=fractal(rng, (GRID, GRID), 1.75, outer=8.0),
        shore=float(rng.uniform(1.6, 3.4)),
        rise=float(rng.uniform(2.0, 3.4)),
        snow=float(rng.uniform(1.3, 2.3)),
        meadow=(float(rng.uniform(0.1, 0.2)), float(rng.uniform(0.12, 0.17)), float(rng.uniform(0.03, 0.06))),
        rock=(float(rng.uniform(0.16, 0.26)), float(rng.uniform(0.15, 0.21)), float(rng.uniform(0.12, 0.19))),
    )


def _at(field: Floats, x: Floats, z: Floats) -> Floats:
    """Read a periodic field at any place, bilinearly."""
    columns = np.asarray(np.mod(x * CELLS, GRID), dtype=np.float32)
    rows = np.asarray(np.mod(z * CELLS, GRID), dtype=np.float32)
    return np.asarray(cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)
