"""The figures of a pair of bundles on a data set: what a hospital would get, through the real runtime and real PNGs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks import difference, metrics
from hidemia.benchmarks.difference import Image
from hidemia.runtime import Client, Server, photo, png, similarity
from hidemia.runtime.errors import DataError
from hidemia.training.errors import DatasetError
from hidemia.training.heads import TILES
from hidemia.training.index import group_of, photo_rows, read_rows
from hidemia.training.reading import Row, read_mask

CLOSENESS = (
    "stego_psnr_db", "stego_ssim", "reply_psnr_db", "reply_ssim", "stego_luma_psnr_db", "reply_luma_psnr_db",
)  # fmt: skip
"""What is measured of both photos of a trip against the cover, by its name in `Trips` and in the figures."""


@dataclass
class Trips:
    """What was measured on the trips of one split. A row per image; columns are its covers."""

    images: list[str] = field(default_factory=list)  # as index.csv names them
    groups: list[str] = field(default_factory=list)  # what of them belongs together: a patient, or near-copies
    truths: list[NDArray[np.bool_]] = field(default_factory=list)  # (S, S) each
    labels: list[int] = field(default_factory=list)
    masks: list[list[NDArray[np.bool_]]] = field(default_factory=list)
    probabilities: list[list[NDArray[np.float32]]] = field(default_factory=list)
    identity: list[NDArray[np.float32]] = field(default_factory=list)  # R(stego, stego): no analysis happened
    apart: list[list[NDArray[np.float32]]] = field(default_factory=list)  # `difference.changed`; for classes in tiles
    stego_psnr_db: list[float] = field(default_factory=list)
    stego_ssim: list[float] = field(default_factory=list)
    reply_psnr_db: list[float] = field(default_factory=list)
    reply_ssim: list[float] = field(default_factory=list)
    stego_luma_psnr_db: list[float] = field(default_factory=list)
    reply_luma_psnr_db: list[float] = field(default_factory=list)


def covers_of(image: str, covers: int, count: int) -> list[int]:
    """Which covers an image travels in: decided by the image's name and seed 0 alone."""
    digest = hashlib.sha256(f"0:{image}".encode()).digest()
    draw = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return draw.choice(covers, size=min(count, covers), replace=False).tolist()


def travel(
    client: Client,
    server: Server,
    data: Path,
    covers: Path,
    split: str,
    covers_per_image: int,
    progress: Callable[[list[dict[str, str]]], Iterable[dict[str, str]]],
) -> Trips:
    """Send every image of a split in each of its covers, and keep what came back.

    Raises:
        DataError: an image, mask or cover cannot be read, or a label is not one of the model's classes.
        DatasetError: no such split.
    """
    rows, photos = read_rows(data, split), photo_rows(covers, split)
    size, threshold = client.image_size_px, client.manifest.mask_threshold
    trips = Trips()
    for row in progress(rows):
        secret = load_photo(data / row["image"])
        trips.images.append(row["image"])
        trips.groups.append(group_of(row))
        if threshold is not None:
            trips.truths.append(truth_mask(data, row, size))
        else:
            trips.labels.append(truth_label(row, client.manifest.classes, data))
        probabilities, apart = [], []
        for pick in covers_of(row["image"], len(photos), covers_per_image):
            cover = photo.fit(load_photo(covers / photos[pick]["image"]), size)
            stego = png.decode(png.encode(client.hide(secret, cover)))
            reply = png.decode(png.encode(server.analyze(stego)))
            probabilities.append(client.probability(reply, sent=stego))
            change = difference.changed(stego, reply)
            apart.append(difference.in_tiles(change) if threshold is None else change)
            trips.stego_psnr_db.append(similarity.psnr(stego, cover))
            trips.stego_ssim.append(similarity.ssim(stego, cover))
            trips.reply_psnr_db.append(similarity.psnr(reply, cover))
            trips.reply_ssim.append(similarity.ssim(reply, cover))
            trips.stego_luma_psnr_db.append(metrics.luma_psnr_db(stego, cover))
            trips.reply_luma_psnr_db.append(metrics.luma_psnr_db(reply, cover))
        trips.identity.append(client.probability(stego, sent=stego))
        trips.probabilities.append(probabilities)
        trips.apart.append(apart)
        if threshold is not None:
            trips.masks.append([probability >= threshold for probability in probabilities])
    return trips


def figures(trips: Trips, threshold: float | None) -> dict[str, float | int | str]:
    """The figures of a split: both photos against the cover, the task, and its controls; shares in 0..1.

    ``control_identity`` is the task's figure when the server answers with the stego itself, ``control_other`` when
    the photo carried another image's secret. Both must be no better than knowing nothing. ``subtraction`` is what
    whoever has stego and reply learns from how strongly they differ, without a network: how far the places that changed
    follow the mask or its inverse, as a correlation, and ``subtraction_other`` the mask of another image; for classes
    in tiles, the balanced accuracy of naming the one whose tile changed most, or of that which changed least, if
    better on the images measured. `hidemia.benchmarks.attacks` looks at more than strength.
    """
    images = len(trips.probabilities)
    found: dict[str, float | int | str] = {
        "task": "segmentation" if threshold is not None else "classification",
        "n_images": images,
        "covers_per_image": len(trips.probabilities[0]),
    }
    for name in CLOSENESS:
        values = np.array(getattr(trips, name))
        found[name] = float(values.mean())
        if name.endswith("db"):
            found[name.replace("_db", "_min_db")] = float(values.min())
            found[name.replace("_db", "_p10_db")] = float(np.percentile(values, 10))
    if threshold is None:
        return found | _classified(trips)
    return found | _segmented(trips, threshold)


def scores(trips: Trips, threshold: float | None) -> list[float]:
    """What each image scored, averaged over its covers: Dice, or the share of right answers."""
    if threshold is not None:
        rows = zip(trips.masks, trips.truths, strict=True)
        return [float(np.mean([metrics.dice(mask, truth) for mask in masks])) for masks, truth in rows]
    answers = zip(trips.probabilities, trips.labels, strict=True)
    return [float(np.mean([found.argmax() == label for found in own])) for own, label in answers]


def _segmented(trips: Trips, threshold: float) -> dict[str, float | int | str]:
    def mean(measure: Callable[[NDArray[np.bool_], NDArray[np.bool_]], float], shift: int = 0) -> float:
        """Over covers, then over images; ``shift`` compares with the truth of another image."""
        truths = trips.truths[shift:] + trips.truths[:shift]
        rows = zip(trips.masks, truths, strict=True)
        return float(np.mean([np.mean([measure(mask, truth) for mask in masks]) for masks, truth in rows]))

    def follows(shift: int = 0) -> float:
        truths = trips.truths[shift:] + trips.truths[:shift]
        rows = zip(trips.apart, truths, strict=True)
        found = [[abs(difference.correlation(one, truth)) for one in own] for own, truth in rows]
        return float(np.mean(found))

    unanswered = zip(trips.identity, trips.truths, strict=True)
    return {
        "dsc": mean(metrics.dice),
        "asd_px": mean(metrics.average_surface_distance_px),
        "empty_masks": sum(not mask.any() for masks in trips.masks for mask in masks),
        "control_identity": float(np.mean([metrics.dice(p >= threshold, truth) for p, truth in unanswered])),
        "control_other": mean(metrics.dice, shift=1),
        "subtraction": follows(),
        "subtraction_other": follows(shift=1),
    }


def _classified(trips: Trips) -> dict[str, float | int | str]:
    labels = np.array(trips.labels)
    # Rows often lie class by class: the neighbour would have the same label.
    others = labels[np.random.default_rng(0).permutation(len(labels))]
    columns = [np.stack(column) for column in zip(*trips.probabilities, strict=True)]  # one (N, K) per cover

    def mean(measure: Callable[[NDArray[np.float32], NDArray[np.int64]], float], truth: NDArray[np.int64]) -> float:
        return float(np.mean([measure(column, truth) for column in columns]))

    found = {
        "accuracy": mean(metrics.accuracy, labels),
        "balanced_accuracy": mean(metrics.balanced_accuracy, labels),
        "auc": mean(metrics.auc, labels),
        "control_identity": metrics.balanced_accuracy(np.stack(trips.identity), labels),
        "control_other": mean(metrics.balanced_accuracy, others),
    }
    classes = columns[0].shape[1]
    if classes <= TILES * TILES:
        tiles = [np.stack(column)[:, :classes] for column in zip(*trips.apart, strict=True)]
        most, least = (
            float(np.mean([metrics.balanced_accuracy(sign * column, labels) for column in tiles])) for sign in (1, -1)
        )
        found["subtraction"] = max(most, least)
    return found


def load_photo(path: Path) -> Image:
    """An image of a data set. Raises DataError: it cannot be read."""
    try:
        return photo.load(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; repair the data set or take the row out of index.csv") from error


def truth_mask(data: Path, row: Row, size: int) -> NDArray[np.bool_]:
    """The mask of a row, (size, size). Raises DataError: it cannot be read."""
    try:
        mask = read_mask(data, row)
    except DatasetError as error:
        raise DataError(str(error)) from error
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR) > 127


def truth_label(row: Row, classes: Sequence[str], data: Path) -> int:
    """Which of the classes a row has. Raises DataError: none of them."""
    if row.get("label") not in classes:
        raise DataError(
            f"{data / row['image']}: expected a label among {', '.join(classes)}, got {row.get('label')!r}; "
            "evaluate on the data set the model was trained for"
        )
    return classes.index(row["label"])
