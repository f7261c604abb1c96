"""Random fields: the correlated noise that tissue, hills and clouds are made of."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


def smooth(rng: np.random.Generator, shape: tuple[int, int], scale: tuple[float, float]) -> Floats:
    """Draw Gaussian noise whose correlation is a Gaussian.

    White noise is filtered in the frequency domain, so the field is periodic and its cost does not depend
    on the scale.

    Args:
        rng: Source of randomness.
        shape: Rows and columns.
        scale: Standard deviation of the filter along rows' and columns' direction, in samples, each >= 0.

    Returns:
        float32 (rows, columns), mean 0, standard deviation 1.
    """
    rows, columns = shape
    along = np.exp(-2 * (np.pi * scale[0] * np.fft.fftfreq(rows)) ** 2)[:, None]
    across = np.exp(-2 * (np.pi * scale[1] * np.fft.rfftfreq(columns)) ** 2)[None, :]
    return _standard(np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * along * across, s=shape))


def fractal(rng: np.random.Generator, shape: tuple[int, int], slope: float, outer: float = 1.0) -> Floats:
    """Draw fractal noise: amplitude falls as a power of the spatial frequency.

    Args:
        rng: Source of randomness.
        shape: Rows and columns.
        slope: Exponent of the amplitude spectrum, > 0; 2 is the surface of eroded land, 1.4 that of clouds.
        outer: Cycles across the field below which the spectrum is flat, so that no single hill rules it.

    Returns:
        float32 (rows, columns), periodic, mean 0, standard deviation 1.
    """
    rows, columns = shape
    radius = np.hypot(np.fft.fftfreq(rows)[:, None] * rows, np.fft.rfftfreq(columns)[None, :] * columns)
    gain = np.maximum(radius, outer) ** -slope
    gain[0, 0] = 0.0
    return _standard(np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * gain, s=shape))


def wave(rng: np.random.Generator, length: int, scale: float) -> Floats:
    """Draw a smooth curve, correlated over `scale` samples: float32 (length,), standard deviation 1."""
    return smooth(rng, (1, length), (0.0, scale)).reshape(-1)


def step(value: NDArray[np.floating[Any]], width: float) -> Floats:
    """Rise from 0 to 1 as `value` passes zero, over about `width` either side; same shape, float32."""
    return np.asarray(0.5 + 0.5 * np.tanh(value / width), dtype=np.float32)


def _standard(values: NDArray[np.float64]) -> Floats:
    """Shift and scale to mean 0 and standard deviation 1, float32."""
    values = values - values.mean()
    return np.asarray(values / max(float(values.std()), 1e-12), dtype=np.float32)
