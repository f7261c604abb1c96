"""A hider of another training: what an attacker has who knows an architecture, ours or a rival's, but no weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from msgspec import Struct
from torch import Tensor

from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.sources import Image, Sources, secrets_of
from hidemia.benchmarks.attacks.store import Store
from hidemia.runtime import similarity
from hidemia.training.channel import to_uint8
from hidemia.training.data import Batch, Scans, hiding_batch
from hidemia.training.loop import Checkpoint, run_stage
from hidemia.training.model import ModelConfig
from hidemia.training.objective import Aids, StageConfig
from hidemia.training.roles import AnyHider
from hidemia.training.stages import Hide

SEED = 1  # the shipped pair has 0
RATE = 6e-4  # as the recipes have it
BATCH = 4  # of photos while hiding


def train_stranger(model: ModelConfig, covers: Image, secrets: Image, budget: Budget, folder: Path) -> AnyHider:
    """Train a hider of a model's architecture from random weights, by the stage `hide` alone.

    Goes on where it was stopped.

    Args:
        model: Whose architecture.
        covers: (P, S, S, 3) uint8, for training.
        secrets: (M, S, S, 3) uint8, for training.
        budget: Steps, batch and size.
        folder: Where the checkpoint lies.
    """
    torch.manual_seed(SEED)
    system = model.build()
    config = StageConfig("hide", budget.other_steps, budget.other_batch, budget.other_px, hider_rate=RATE)
    scans = Scans(_planes(secrets), None, torch.zeros(len(secrets), dtype=torch.int64), ())
    photos = _planes(covers)

    def batch_of(step: int) -> Batch:
        return hiding_batch(scans, photos, config.size_px, config.batch, SEED, step)

    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    folder.mkdir(parents=True, exist_ok=True)
    with torch.enable_grad():
        objective = Hide(system, Aids(system.analyzer.width, None), config)
        trained = run_stage(objective, batch_of, lambda _: {}, fabric, Checkpoint(folder / "hide.pt"), SEED)
    hider: AnyHider = trained.hider.eval()
    return hider


class Trained(Struct, frozen=True):
    """How good it became, PSNR in dB on a few photos of val: stegos against covers, and what it opens of its own."""

    stego_db: float
    opened_db: float


def quality(hider: AnyHider, sources: Mapping[str, Sources]) -> Trained:
    """See `Trained`."""
    covers = sources["val"].covers[:16]
    secrets = secrets_of(sources["val"])[: len(covers)]
    stegos = hide_all(hider, secrets, covers)
    pairs = ((stegos, covers), (open_all(hider, stegos), secrets))
    return Trained(
        *(round(float(np.mean([similarity.psnr(*pair) for pair in zip(*two, strict=True)])), 2) for two in pairs)
    )


def strangers_photos(
    store: Store, name: str, hider: Callable[[], AnyHider], sources: Mapping[str, Sources], budget: Budget
) -> Callable[[str], Image]:
    """What gives the stegos of a split, (1, P, S, S, 3), in the first covers; made once and kept under a name."""

    def make(split: str) -> Image:
        covers = sources[split].covers[: budget.other_photos]
        secrets = secrets_of(sources[split])[: len(covers)]
        return store.get(f"{split}.{name}", lambda: hide_all(hider(), secrets, covers)[None])

    return make


@torch.no_grad()
def hide_all(hider: AnyHider, secrets: Image, covers: Image) -> Image:
    """(N, S, S, 3) uint8, twice -> the stegos, the same."""
    return _by_parts(hider.hide, secrets, covers)


@torch.no_grad()
def open_all(hider: AnyHider, photos: Image) -> Image:
    """What a hider's recover network takes out of photos: (N, S, S, 3) uint8 -> the same."""
    return _by_parts(hider.recover, photos)


def _by_parts(network: Callable[..., Tensor], *images: Image) -> Image:
    parts = [to_uint8(network(*part)) for part in _parts(images)]
    return torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()


def _parts(images: tuple[Image, ...]) -> Iterator[list[Tensor]]:
    for at in range(0, len(images[0]), BATCH):
        yield [_planes(image[at : at + BATCH]).float() / 255 for image in images]


def _planes(images: Image) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
