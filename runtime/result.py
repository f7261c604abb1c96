"""What the device gets in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image
from hidemia.runtime.dicom.record import Source
from hidemia.runtime.scaling import Scaling

__all__ = ["Integrity", "Result"]


@dataclass(frozen=True, slots=True)
class Integrity:
    """How the reply relates to what was sent; both were within the manifest's limits.

    Attributes:
        psnr_db: Reply against sent.
        changed_share: Share of values that differ, 0..1.
        seal_share: Share of the reply's tiles that carry the seal of this pair's analyzer, 0..1; None where the
            model writes none. Below 1 but within the limit, part of the reply was damaged.
    """

    psnr_db: float
    changed_share: float
    seal_share: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The analysis of one secret.

    Attributes:
        task: segmentation or classification.
        classes: Their names, in the order of `probability`.
        probability: float32 in 0..1. Segmentation: (S, S) at the network's size, for `classes[0]`.
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
