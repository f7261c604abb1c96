"""What needs no network: a model that does not clearly beat these has learned nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.metrics import dice
from hidemia.training.data import Scans, scaled

THUMBNAIL_PX = 48


def location_prior(train: Scans, val: Scans) -> NDArray[np.bool_]:
    """The mask that fits every image best: where a lesion usually is, (256, 256).

    The mean of the training masks, cut at the level that gives the best mean Dice on ``val``.
    """
    assert train.masks is not None and val.masks is not None  # noqa: S101, PT018 - a segmentation set
    mean = train.masks[:, 0].float().mean(dim=0).numpy() / 255
    truths = val.masks[:, 0].numpy() > 127
    levels = np.linspace(0.02, 0.98, 49) * mean.max()
    return mean > max(levels, key=lambda level: np.mean([dice(mean > level, truth) for truth in truths]))


def nearest_thumbnails(train: Scans, test: Scans) -> NDArray[np.int64]:
    """For each test image the training image whose 48-pixel grey thumbnail correlates best, (N,)."""

    def thumbnails(scans: Scans) -> NDArray[np.float32]:
        grey = scaled(scans.images, THUMBNAIL_PX).mean(dim=1).flatten(1)
        grey = grey - grey.mean(dim=1, keepdim=True)
        return (grey / grey.norm(dim=1, keepdim=True).clamp_min(1e-6)).numpy()

    return (thumbnails(test) @ thumbnails(train).T).argmax(axis=1)
