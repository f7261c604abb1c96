"""Stegos made once, for stages whose hider is finished: hiding costs more than what the analyzer learns from it.

A step then takes images from a pool, every one once an epoch, instead of hiding anew. The pool is drawn as batches
are, by seed alone, and kept beside the checkpoints in parts of 8 bits a value, so that a killed run goes on with the
parts that are there.

A photo that comes back every epoch with the same result is soon known by heart, and what is hidden in it is no longer
read. So a step may put what hiding changed on other photos of the pool, see `on_photos`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hidemia.training.channel import to_uint8, transmit
from hidemia.training.data import Batch, epoch_order, generator
from hidemia.training.roles import AnyHider

PART = 4  # images that are hidden at once and stored in one file; more of them leave a CPU's cache


class Pool:
    """Batches of which the stego is known.

    Attributes:
        images: what `Batch` has, but the photos and masks as uint8; each (N, ...).
    """

    def __init__(self, images: dict[str, Tensor]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images["labels"])

    def batch(self, size: int, seed: int, step: int, *, exchanged: bool = False, joined: bool = False) -> Batch:
        """The images of one step, as float32 in [0, 1].

        On photos of others where those are ``exchanged``; every other image is two of the pool where they are
        ``joined``. Such a one has the label of the first.
        """
        picks, draw = epoch_order(len(self), seed, step, size), generator(seed, step)
        found = {name: images[picks] for name, images in self.images.items()}
        others = torch.randint(len(self), (size,), generator=draw)  # first: the same photos, whatever is joined
        if joined:
            cut = cuts(size, found["secrets"].shape[-1], draw)
            found |= {name: torch.where(cut, found[name], found[name].roll(1, 0)) for name in found if name != "labels"}
        if exchanged:
            photos = self.images["covers"][others]
            found |= {"stegos": on_photos(photos, found["stegos"], found["covers"]), "covers": photos}
        masks = found.get("masks")
        return Batch(
            found["secrets"].float() / 255,
            found["covers"].float() / 255,
            None if masks is None else masks.float(),
            found["labels"],
            found["stegos"].float() / 255,
        )


def on_photos(photos: Tensor, stegos: Tensor, covers: Tensor) -> Tensor:
    """What hiding changed in covers, put on other photos: all uint8 (B, 3, s, s) -> stegos of the photos, the same.

    An approximation, because what a hider changes depends on its cover; good enough to learn to read from.
    """
    return (photos.int() + stegos.int() - covers.int()).clamp(0, 255).to(torch.uint8)


def cuts(count: int, size_px: int, draw: torch.Generator) -> Tensor:
    """Where an image is its own, before a further one begins: (N, 1, s, s) bool, at the left or above.

    Every other image is whole. A cut lies between two pixels of different 2x2 squares, which Haar's bands are made of.
    """
    least = size_px // 8  # squares in a quarter
    ends = 2 * torch.randint(least, 3 * least + 1, (count,), generator=draw)
    across = torch.rand(count, generator=draw) < 0.5
    ends[::2] = size_px
    own = (torch.arange(size_px) < ends[:, None])[:, None, None]  # (N, 1, 1, s)
    own = own.expand(-1, 1, size_px, -1)
    return torch.where(across[:, None, None, None], own, own.mT)


def pool_of(hider: AnyHider, batch_of: Callable[[int], Batch], count: int, folder: Path) -> Pool:
    """The first ``count`` images of ``batch_of``, which gives `PART` of them a call, hidden by a finished hider.

    Parts that lie in the folder are taken as they are; one that is damaged is made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [_part(hider, batch_of, number, folder) for number in range(-(-count // PART))]
    return Pool({name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]})


def _part(hider: AnyHider, batch_of: Callable[[int], Batch], number: int, folder: Path) -> dict[str, Tensor]:
    path = folder / f"{number:05d}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        part = _hidden(hider, batch_of(number))
    save_file(part, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)
    return part


@torch.no_grad()
def _hidden(hider: AnyHider, batch: Batch) -> dict[str, Tensor]:
    """A batch with its stegos, as it is stored."""
    hider.eval().to(memory_format=torch.channels_last)  # quicker on a CPU
    part = {
        "secrets": to_uint8(batch.secrets),
        "covers": to_uint8(batch.covers),
        "labels": batch.labels,
        "stegos": to_uint8(transmit(hider.hide(batch.secrets, batch.covers))),
    }
    if batch.masks is not None:
        part["masks"] = batch.masks.to(torch.uint8)
    return {name: value.cpu() for name, value in part.items()}
