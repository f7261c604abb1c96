"""Images for training, decoded once into memory, and the batches drawn from them.

A data set is a folder with ``index.csv`` or in a layout that is known, see `hidemia.training.index`. Every random
draw comes from a generator seeded by (seed, step), so that a resumed run sees what an undisturbed one would have
seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hidemia.training.errors import DatasetError
from hidemia.training.index import group_of, photo_rows, read_index, read_rows
from hidemia.training.model import ModelConfig
from hidemia.training.reading import read_image, read_mask

STORED_PX = 256  # scans are kept a little larger than any network reads, for the augmentation


@dataclass(frozen=True)
class Scans:
    """Medical images of one split.

    Attributes:
        images: (N, 3, 256, 256) uint8.
        masks: (N, 1, 256, 256) uint8, 0 or 255, for segmentation.
        labels: (N,) int64, indices into ``classes``.
        classes: the labels of the whole data set, sorted, so that every split has the same.
        groups: of each image, a patient's or of near-copies; empty where each is one of its own.
    """

    images: Tensor
    masks: Tensor | None
    labels: Tensor
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()


class Batch(NamedTuple):
    """What one step sees.

    Secrets and covers (B, 3, s, s) float32 in [0, 1]; masks (B, 1, s, s) float32, 0 or 1, or None; labels
    (B,); stegos as the secrets where they were made before, see `hidemia.training.pool`, or None.
    """

    secrets: Tensor
    covers: Tensor
    masks: Tensor | None
    labels: Tensor
    stegos: Tensor | None = None


def _square(image: np.ndarray, interpolation: int, size_px: int) -> np.ndarray:
    """An image scaled to a square."""
    if image.shape[:2] == (size_px, size_px):
        return image
    return cv2.resize(image, (size_px, size_px), interpolation=interpolation)


def _read_photo(path: Path, size_px: int) -> Tensor:
    """(3, s, s) uint8 RGB."""
    image = _square(read_image(path, cv2.IMREAD_COLOR_RGB), cv2.INTER_AREA, size_px)
    return torch.from_numpy(image).permute(2, 0, 1)


def read_scans(folder: Path, split: str, segmentation: bool) -> Scans:  # noqa: FBT001 - a task, said by name
    """All images of one split, with masks when the task is segmentation.

    Raises:
        DatasetError: an unreadable image or mask, a mask without a lesion, or, when the task is
            classification, an image without a label or a class without images.
    """
    rows = read_rows(folder, split)
    names = tuple(sorted({row.get("label") or "" for row in read_index(folder)}))
    if not segmentation:
        _check_labels(folder, split, rows, names)
    images = torch.stack([_read_photo(folder / row["image"], STORED_PX) for row in rows])
    masks = None
    if segmentation:
        masks = torch.stack([_read_mask(folder, row) for row in rows])
    labels = torch.tensor([names.index(row.get("label") or "") for row in rows])
    return Scans(images, masks, labels, names, tuple(group_of(row) for row in rows))


def read_scans_of(model: ModelConfig, folder: Path, split: str) -> Scans:
    """`read_scans` for a model.

    Raises:
        DatasetError: the same, or the classes are not those that the model tells.
    """
    scans = read_scans(folder, split, model.task == "segmentation")
    if model.task == "classification" and scans.classes != model.classes:
        raise DatasetError(
            f"{folder}: expected the classes of {model.name} ({', '.join(model.classes)}), got "
            f"{', '.join(scans.classes)}; choose the recipe of this data set"
        )
    return scans


def spread(scans: Scans, most: int) -> Scans:
    """At most so many images, evenly spread over a split.

    Where the task is to tell classes these have equal shares, and what a rare one lacks goes to the others: a hundred
    drawn as they come would judge what is balanced over classes by two images of a rare one.
    """
    kinds = scans.labels if scans.masks is None else torch.zeros_like(scans.labels)
    classes, counts = kinds.unique(return_counts=True)
    picks, left = [], most
    for turn, kind in enumerate(counts.argsort(stable=True)):  # the rarest first: others share out what it lacks
        share = min(int(counts[kind]), left // (len(counts) - turn))
        own = (kinds == classes[kind]).nonzero()[:, 0]
        picks.append(own[torch.linspace(0, len(own) - 1, share).round().long()])
        left -= share
    chosen = torch.cat(picks).sort().values
    groups = tuple(scans.groups[i] for i in chosen.tolist()) if scans.groups else ()
    masks = None if scans.masks is None else scans.masks[chosen]
    return Scans(scans.images[chosen], masks, scans.labels[chosen], scans.classes, groups)


def _check_labels(folder: Path, split: str, rows: list[dict[str, str]], names: tuple[str, ...]) -> None:
    for row in rows:
        if not row.get("label"):
            raise DatasetError(f"{folder / row['image']}: expected a label in index.csv, got none; add it")
    absent = set(names) - {row["label"] for row in rows}
    if absent:
        raise DatasetError(
            f"{folder / 'index.csv'}: expected every class in split {split!r}, got none of "
            f"{', '.join(sorted(absent))}; move some there"
        )


def _read_mask(folder: Path, row: dict[str, str]) -> Tensor:
    """(1, 256, 256) uint8, 0 or 255."""
    mask = _square(read_mask(folder, row), cv2.INTER_NEAREST, STORED_PX)
    mask = np.where(mask > 127, np.uint8(255), np.uint8(0))
    if not mask.any():
        raise DatasetError(
            f"{folder / row['mask']}: expected a mask with something in it, got an empty one; drop the row"
        )
    return torch.from_numpy(mask)[None]


def read_covers(folder: Path, split: str, size_px: int) -> Tensor:
    """Photos of one split, (N, 3, s, s) uint8, scaled as the client scales them.

    Raises:
        DatasetError: no photo of that split, or one that cannot be read.
    """
    return torch.stack([_read_photo(folder / row["image"], size_px) for row in photo_rows(folder, split)])


class Place(NamedTuple):
    """Which of the processes that train together this is."""

    rank: int = 0
    world: int = 1


ALONE = Place()


def generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The source of every random draw of one step in one process."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step + (rank << 40))


def epoch_order(count: int, seed: int, step: int, batch: int, place: Place = ALONE) -> Tensor:
    """Indices of this step's images: every image once an epoch, in an order of seed and epoch alone.

    The processes of a step share its images out among them.
    """
    start = (step * place.world + place.rank) * batch
    picks = []
    for position in range(start, start + batch):
        epoch, offset = divmod(position, count)
        picks.append(torch.randperm(count, generator=generator(seed, -1 - epoch))[offset])
    return torch.stack(picks)


def crop_covers(covers: Tensor, count: int, size_px: int, draw: torch.Generator) -> Tensor:
    """Random crops with random flips and quarter turns: (N, 3, S, S) uint8 -> (count, 3, s, s) float32."""
    picks = torch.randint(len(covers), (count,), generator=draw).tolist()
    crops = []
    for pick in picks:
        room = covers.shape[-1] - size_px
        top, left = torch.randint(room + 1, (2,), generator=draw).tolist()
        turns = int(torch.randint(4, (1,), generator=draw))
        flip = int(torch.randint(2, (1,), generator=draw))
        crop = torch.rot90(covers[pick, :, top : top + size_px, left : left + size_px], turns, (1, 2))
        crops.append(crop.flip(2) if flip else crop)
    return torch.stack(crops).float() / 255


def warp(images: Tensor, masks: Tensor | None, size_px: int, draw: torch.Generator) -> tuple[Tensor, Tensor | None]:
    """Random mirror, rotation (15 degrees), scale (0.85 to 1.2), shift (8 %), contrast and brightness.

    uint8 (B, 3, 256, 256) and (B, 1, 256, 256) -> float32 (B, 3, s, s) in [0, 1] and (B, 1, s, s), 0 or 1.
    """
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=draw) * (high - low) + low

    angle, scale = uniform(-15, 15) * math.pi / 180, uniform(1 / 1.2, 1 / 0.85)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [mirror * cos, -sin, uniform(-0.16, 0.16), mirror * sin, cos, uniform(-0.16, 0.16)]
    affine = torch.stack(rows, dim=1).view(count, 2, 3)

    def sample(x: Tensor) -> Tensor:
        small = F.interpolate(x.float(), size=(size_px, size_px), mode="bilinear", antialias=True)
        grid = F.affine_grid(affine, list(small.shape), align_corners=False)
        return F.grid_sample(small, grid, padding_mode="zeros", align_corners=False)

    contrast, brightness = uniform(0.8, 1.2).view(-1, 1, 1, 1), uniform(-0.08, 0.08).view(-1, 1, 1, 1)
    pictures = (sample(images) / 255 * contrast + brightness).clamp(0, 1)
    return pictures, None if masks is None else (sample(masks) > 127).float()


def scaled(images: Tensor, size_px: int) -> Tensor:
    """uint8 (B, C, H, W) -> float32 (B, C, s, s) in [0, 1], without augmentation."""
    if images.shape[-1] == size_px:
        return images.float() / 255
    return F.interpolate(images.float(), size=(size_px, size_px), mode="bilinear", antialias=True) / 255


def balanced_picks(labels: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Indices of images whose classes are equally likely, however rare: (N,) -> (count,)."""
    present = labels.unique()
    picks = []
    for choice in torch.randint(len(present), (count,), generator=draw).tolist():
        members = torch.nonzero(labels == present[choice])[:, 0]
        picks.append(members[torch.randint(len(members), (1,), generator=draw)])
    return torch.cat(picks)


def scan_batch(
    scans: Scans,
    size_px: int,
    batch: int,
    seed: int,
    step: int,
    draw: torch.Generator,
    place: Place = ALONE,
    balanced: float = 0.0,
    upright: bool = True,  # noqa: FBT001, FBT002 - of the recipe
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Augmented scans of one step, with their masks and labels as in `Batch`.

    ``balanced`` is the share of the batch that is drawn class by class instead of image by image. Scans that have no
    up and down, ``upright`` false, are turned by quarters as well.
    """
    picks = epoch_order(len(scans.images), seed, step, batch, place)
    count = round(balanced * batch)
    if count:
        picks[batch - count :] = balanced_picks(scans.labels, count, draw)
    masks = None if scans.masks is None else scans.masks[picks]
    secrets, warped = warp(scans.images[picks], masks, size_px, draw)
    if not upright:
        turns = torch.randint(4, (batch,), generator=draw).tolist()
        secrets = torch.stack([torch.rot90(secret, turn, (1, 2)) for secret, turn in zip(secrets, turns, strict=True)])
        if warped is not None:
            warped = torch.stack([torch.rot90(mask, turn, (1, 2)) for mask, turn in zip(warped, turns, strict=True)])
    return secrets, warped, scans.labels[picks]


def training_batch(
    scans: Scans,
    covers: Tensor,
    size_px: int,
    batch: int,
    seed: int,
    step: int,
    place: Place = ALONE,
    balanced: float = 0.0,
    upright: bool = True,  # noqa: FBT001, FBT002 - of the recipe
) -> Batch:
    """The batch of one step: augmented scans and random crops of covers."""
    draw = generator(seed, step, place.rank)
    secrets, masks, labels = scan_batch(scans, size_px, batch, seed, step, draw, place, balanced, upright)
    return Batch(secrets, crop_covers(covers, batch, size_px, draw), masks, labels)


def hiding_batch(
    scans: Scans, covers: Tensor, size_px: int, batch: int, seed: int, step: int, place: Place = ALONE
) -> Batch:
    """Crops for a hider alone: secrets are scans, tinted scans (an eighth) and photos (a quarter).

    Grey secrets alone teach a hider to lose colour.
    """
    draw = generator(seed, step, place.rank)
    picks = torch.randint(len(scans.images), (batch,), generator=draw)
    secrets = crop_covers(scans.images[picks], batch, size_px, draw)
    photos = crop_covers(covers, batch, size_px, draw)
    kind = torch.rand(batch, 1, 1, 1, generator=draw)
    tint = torch.rand(batch, 3, 1, 1, generator=draw)
    secrets = torch.where(kind < 0.25, photos, torch.where(kind < 0.375, secrets * tint, secrets))
    return Batch(secrets, crop_covers(covers, batch, size_px, draw), None, scans.labels[picks])
