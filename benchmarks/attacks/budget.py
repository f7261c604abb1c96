"""How much an attack may cost; it is printed beside every figure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Sizes of everything that is made and trained.

    Attributes:
        photos: Of each split, train, val and test; None for all.
        per_cover: Secrets that each cover of these splits carries, one at a time.
        seeds: Trainings of each detector.
        learners: Of the classical ensemble.
        detector_steps, detector_pairs, crop_px, width: Of the convolutional detector.
        curve: Pairs of stego (or reply) and cover at which the classical detector is trained.
        other_steps, other_batch, other_px: Of the hider that an attacker trains, from random weights.
        other_photos: That it hides in, to train a detector on.
        leaked: Pairs of photo and secret that an inversion network is trained on.
        inversion_steps, inversion_batch: Of it.
        inversion_photos: Of the test split that it is measured on; None for all.
    """

    photos: tuple[int | None, int | None, int | None] = (None, None, None)
    per_cover: tuple[int, int, int] = (4, 2, 2)
    seeds: int = 3
    learners: int = 30
    detector_steps: int = 200
    detector_pairs: int = 8
    crop_px: int = 96
    width: int = 8
    curve: tuple[int, ...] = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
    other_steps: int = 400
    other_batch: int = 4
    other_px: int = 48
    other_photos: int = 200
    leaked: tuple[int, ...] = (100, 2000)
    inversion_steps: int = 400
    inversion_batch: int = 8
    inversion_photos: int | None = None


FULL = Budget()

QUICK = Budget(
    photos=(32, 12, 16),
    per_cover=(1, 1, 1),
    seeds=1,
    learners=10,
    detector_steps=10,
    detector_pairs=4,
    curve=(5, 20),
    other_steps=4,
    other_batch=2,
    other_photos=16,
    leaked=(32,),
    inversion_steps=10,
    inversion_batch=4,
    inversion_photos=16,
)
"""A minute's try: whether all of it runs. Its figures mean nothing."""
