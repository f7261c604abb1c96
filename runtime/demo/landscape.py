"""A photo-like cover made by the project: mountains over a lake, seen through a camera.

Light follows the few rules that make a picture look natural: sunlight falls off with the cosine of its angle
and is blocked by what stands in its way, the blue sky fills the shadows, air between camera and mountain adds
its own light (exponentially with distance), water mirrors more the flatter one looks at it (Schlick's form of
Fresnel's law), and a sensor counts photons, so its noise grows with the root of the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.demo import terrain as terrains
from hidemia.runtime.demo.field import Floats, fractal, smooth, step
from hidemia.runtime.demo.terrain import Terrain

FINER = 2
"""Rays per pixel along each axis."""
NEAR, FAR, STEPS = 0.25, 26.0, 700
"""Distances between which rays are followed, and how many points lie on each."""


@dataclass(frozen=True)
class Weather:
    """Light and air, colours in linear RGB."""

    sun: Floats
    """Direction towards the sun (right, up, ahead), of length 1."""
    sunlight: Floats
    skylight: Floats
    zenith: Floats
    horizon: Floats
    clarity: float
    """Distance after which two thirds of the light come from the air."""
    cloudiness: float
    """Share of the sky that clouds cover, roughly, 0 to 1."""


@dataclass(frozen=True)
class View:
    """Where every ray goes: (rows, columns) each, in tangents of the angle to the horizontal."""

    right: Floats
    up: Floats
    eye: float
    """Height of the camera above the lake."""


def photo(seed: int, size_px: int = 224) -> NDArray[np.uint8]:
    """Render a landscape; the same seed gives the same photo.

    Args:
        seed: Seed >= 0.
        size_px: Side of the square photo, in pixels.

    Returns:
        uint8 (size_px, size_px, 3), RGB.
    """
    rng = np.random.default_rng(seed)
    land, weather = terrains.draw(rng), _weather(rng)
    side = size_px * FINER
    tall = float(rng.uniform(0.5, 0.62))
    horizon = float(rng.uniform(0.44, 0.6))
    right = np.linspace(-tall, tall, side, dtype=np.float32)
    up = np.linspace(2 * tall * horizon, -2 * tall * (1 - horizon), side, dtype=np.float32)
    view = View(*np.meshgrid(right, up), eye=float(rng.uniform(0.22, 0.4)))
    sky = _sky(rng, view, weather)
    distance = _distance(land, view)
    ground = _ground(land, weather, view, distance)
    scene = np.where(np.isfinite(distance)[..., None], ground, sky)
    scene = _flood(rng, scene, weather, view, distance)
    return _expose(rng, scene, size_px)


def _weather(rng: np.random.Generator) -> Weather:
    """Draw the hour and the air: the lower the sun, the warmer its light."""
    elevation, azimuth = rng.uniform(0.25, 0.8), rng.choice([-1, 1]) * rng.uniform(0.9, 2.2)
    sun = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)],
        np.float32,
    )
    warm = float(np.clip((0.7 - elevation) / 0.5, 0, 1))
    blue = rng.uniform(0.85, 1.3)
    return Weather(
        sun=sun,
        sunlight=np.array([2.4, 2.2 - 0.3 * warm, 1.95 - 0.7 * warm], np.float32),
        skylight=np.array([0.2, 0.26, 0.36], np.float32),
        zenith=np.array([0.07, 0.17, 0.42 * blue], np.float32),
        horizon=np.array([0.47 + 0.12 * warm, 0.55, 0.64 - 0.07 * warm], np.float32),
        clarity=float(rng.uniform(14, 40)),
        cloudiness=float(rng.uniform(0.25, 0.6)),
    )


def _sky(rng: np.random.Generator, view: View, weather: Weather) -> Floats:
    """Paint the sky: paler towards the horizon, with a layer of fractal clouds seen in perspective."""
    up = np.maximum(view.up, 0.0)
    share = np.exp(-up / 0.28)[..., None]
    blue = weather.zenith + (weather.horizon - weather.zenith) * share
    field = fractal(rng, (512, 512), 1.55, outer=3.0)
    away = 1.0 / (up + 0.16)
    columns = np.asarray(np.mod((view.right * away) * 60 + 200, 512), np.float32)
    rows = np.asarray(np.mod(away * 75, 512), np.float32)
    # A second reading towards the sun tells how much cloud the light has crossed.
    thick, behind = (
        cv2.remap(field, columns, rows + off, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP) for off in (0, 5)
    )
    level = 0.9 - 2.0 * weather.cloudiness
    cover = step(np.asarray(thick, np.float32) - level, 0.55)
    light = np.clip(0.95 - 0.2 * (np.asarray(behind) - level) + 0.25 * (np.asarray(thick) - behind), 0.45, 1.1)
    cloud = light[..., None] * np.array([0.92, 0.93, 0.96], np.float32)
    return np.asarray(blue + (cloud - blue) * (0.92 * cover * (1 - 0.55 * share[..., 0]))[..., None], np.float32)


def _distance(land: Terrain, view: View) -> Floats:
    """Follow every ray to the ground.

    All rays of a column lie in one vertical plane, so the ground they meet is one profile: a ray ends where
    the steepest line of sight so far first exceeds its own.

    Returns:
        float32 (rows, columns), distance ahead; infinite where a ray leaves the land.
    """
    ahead = np.geomspace(NEAR, FAR, STEPS).astype(np.float32)
    right = view.right[0]
    z, x = np.broadcast_arrays(ahead[:, None], ahead[:, None] * right[None, :])
    slope = (np.maximum(land.height(np.ascontiguousarray(x), np.ascontiguousarray(z)), 0) - view.eye) / z
    seen = np.maximum.accumulate(slope, axis=0)
    found = np.full(view.up.shape, np.inf, dtype=np.float32)
    for column in range(seen.shape[1]):
        index = np.searchsorted(seen[:, column], view.up[:, column])
        hit = index < STEPS
        after = np.minimum(index, STEPS - 1)
        before = np.maximum(after - 1, 0)
        low, high = seen[before, column], seen[after, column]
        part = np.clip((view.up[:, column] - low) / np.maximum(high - low, 1e-6), 0, 1)
        reach = ahead[before] + part * (ahead[after] - ahead[before])
        found[hit, column] = reach[hit]
    return found


def _ground(land: Terrain, weather: Weather, view: View, distance: Floats) -> Floats:
    """Light the ground that the rays meet, through the air in between."""
    z = np.where(np.isfinite(distance), distance, FAR).astype(np.float32)
    x = np.asarray(view.right * z, np.float32)
    height = land.height(x, z)
    # The slope is taken over what a pixel covers there, so that far ground does not glitter.
    apart = np.asarray(np.maximum(0.004, 0.0025 * z), np.float32)
    east = (land.height(x + apart, z) - height) / apart
    north = (land.height(x, z + apart) - height) / apart
    flatness = np.asarray(1 / np.sqrt(1 + east**2 + north**2), np.float32)
    facing = (-east * weather.sun[0] + weather.sun[1] - north * weather.sun[2]) * flatness
    lit = np.ones_like(height)
    for reach in np.geomspace(0.02, 2.5, 14):
        x_there = np.asarray(x + reach * weather.sun[0], np.float32)
        z_there = np.asarray(z + reach * weather.sun[2], np.float32)
        clear = height + reach * weather.sun[1] - land.height(x_there, z_there)
        lit = np.minimum(lit, np.clip(0.5 + clear / (0.12 * reach + 0.01), 0, 1))
    colour = land.colour(x, z, height, flatness)
    sunny = (np.maximum(facing, 0) * lit)[..., None] * weather.sunlight
    radiance = colour * (sunny + weather.skylight * (0.6 + 0.4 * flatness)[..., None])
    air = (1 - np.exp(-z / weather.clarity))[..., None]
    return np.asarray(radiance + (weather.horizon * 0.92 - radiance) * air, np.float32)


def _flood(rng: np.random.Generator, scene: Floats, weather: Weather, view: View, distance: Floats) -> Floats:
    """Fill the lake: water mirrors what stands above it, broken up by ripples that perspective flattens."""
    surface = view.eye / np.maximum(-view.up, 1e-4)
    wet = (view.up < 0) & (distance > surface * 0.985)
    if not wet.any():
        return scene
    rows, columns = scene.shape[:2]
    depth = np.clip(surface, 0, FAR)
    noise = smooth(rng, (512, 512), (1.0, 2.0)) + 0.5 * smooth(rng, (512, 512), (4, 12))
    raw = cv2.remap(
        noise,
        np.asarray(np.mod(view.right * depth * 520 + 256, 512), np.float32),
        np.asarray(np.mod(depth * 420, 512), np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    # Where a pixel covers many ripples they average out.
    ripple = np.asarray(raw, np.float32) / (1 + (depth / 1.6) ** 2)
    per_row = float(view.up[0, 0] - view.up[1, 0])
    swing = 0.012 + 0.05 * np.minimum(-view.up, 0.5)
    mirrored = (view.up[0, 0] + view.up + swing * ripple) / per_row
    index = np.indices((rows, columns))[1].astype(np.float32)
    image = cv2.remap(scene, index, np.asarray(mirrored, np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    grazing = np.clip(1 + view.up * (1 + 0.5 * ripple), 0, 1)
    mirror = (0.08 + 0.8 * grazing**3)[..., None]
    deep = np.array([0.03, 0.075, 0.085], np.float32) * (1 + 0.15 * ripple)[..., None]
    glint = np.maximum(ripple - 2.2, 0)[..., None] * 0.12 * weather.sunlight
    water = deep * (1 - mirror) + np.asarray(image, np.float32) * 0.9 * mirror + glint
    return np.asarray(np.where(wet[..., None], water, scene), np.float32)


def _expose(rng: np.random.Generator, scene: Floats, size_px: int) -> NDArray[np.uint8]:
    """Take the picture: lens, exposure, film curve, and the sensor's noise."""
    soft = cv2.GaussianBlur(scene, (0, 0), 0.3 * FINER)
    picture = np.asarray(cv2.resize(soft, (size_px, size_px), interpolation=cv2.INTER_AREA), np.float32)
    exposed = picture * (0.21 / max(float(np.exp(np.log(picture.mean(axis=2) + 1e-3).mean())), 1e-3))
    corner = np.linspace(-1, 1, size_px, dtype=np.float32) ** 2
    exposed = exposed * (1 - 0.09 * (corner[:, None] + corner[None, :]))[..., None]
    # A shoulder keeps snow and clouds below white.
    toned = 1 - np.exp(-1.5 * exposed**1.2)
    # As cameras do: the darkest thing nearly black, the brightest nearly white, and neither clipped.
    dark, light = np.percentile(toned, (0.5, 99.5))
    toned = 0.004 + 0.82 * np.maximum(toned - dark, 0) / max(float(light - dark), 1e-3)
    counted = toned + rng.standard_normal(toned.shape) * np.sqrt(0.00018 * toned + 0.000004)
    encoded = np.clip(counted, 0, 1) ** (1 / 2.2)
    return np.asarray(np.clip(np.rint(255 * encoded), 0, 255), dtype=np.uint8)
