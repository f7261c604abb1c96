"""What the device gets in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import photo
from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import EngineError
from hidemia.runtime.manifest import Manifest
from hidemia.runtime.scaling import Scaling

if TYPE_CHECKING:  # a result of a picture knows no DICOM
    from hidemia.runtime.dicom.record import Source

__all__ = ["Integrity", "Result", "make_result"]


@dataclass(frozen=True, slots=True)
class Integrity:
    """How the reply, its veil taken off, relates to what was sent; all was within the manifest's limits.

    Attributes:
        psnr_db: Reply against sent.
        changed_share: Share of values that differ, 0..1.
        low_change: Root mean square change of the means of 2x2 px, in levels.
        seal_share: Share of the reply's tiles that carry the seal of this pair's analyzer, 0..1; None where the
            model writes none. Below 1 but within the limit, part of the reply was damaged.
        seal_strength: How strongly its tiles carry the seal, on average: trained to 1 or more, and more where the
            reply was analysed again; None where the model writes none.
    """

    psnr_db: float
    changed_share: float
    low_change: float
    seal_share: float | None = None
    seal_strength: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The analysis of one secret.

    Attributes:
        task: segmentation or classification.
        classes: Their names, in the order of `probability`.
        probability: float32 in 0..1. Segmentation: (S, S) at the network's size, for `classes[-1]`.
            Classification: (K,), one for each class.
        mask: uint8 (H, W), 0 or 255, at the size asked for; None in classification.
        label: The most probable class; None in segmentation.
        integrity: How the reply relates to what was sent.
        scaling: How the secret became the network's square, and the mask the secret's size again.
        timings_ms: What each step took, by name.
        source: Where in which DICOM file the secret was and how it became 8 bits; None for other secrets.
    """

    task: Literal["segmentation", "classification"]
    classes: tuple[str, ...]
    probability: NDArray[np.float32]
    mask: Image | None
    label: str | None
    integrity: Integrity
    scaling: Scaling
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    source: Source | None = None


def make_result(
    manifest: Manifest,
    probability: NDArray[np.float32],
    integrity: Integrity,
    *,
    size: tuple[int, int] | None,
    timings_ms: Mapping[str, float],
) -> Result:
    """Turn what the recover network found into a mask or a label.

    Args:
        manifest: Its task, classes and threshold.
        probability: float32 (S, S) of each pixel, or (K,) of each class.
        integrity: What the reply was judged to be.
        size: Height and width of the mask; the network's when None.
        timings_ms: What each step took, by name.

    Raises:
        EngineError: A probability is not finite.
    """
    if not np.isfinite(probability).all():
        raise EngineError("recover: expected finite probabilities, got others; export the bundle again")
    mask = label = None
    if manifest.mask_threshold is not None and manifest.task == "segmentation":
        mask = (probability >= np.float32(manifest.mask_threshold)).astype(np.uint8) * np.uint8(255)
        mask = photo.scale_mask(mask, size) if size else mask
    else:
        label = manifest.classes[int(np.argmax(probability))]
    side = manifest.image_size_px
    return Result(
        task=manifest.task,
        classes=tuple(manifest.classes),
        probability=probability,
        mask=mask,
        label=label,
        integrity=integrity,
        scaling=Scaling(*(size or (side, side)), side),
        timings_ms=timings_ms,
    )
