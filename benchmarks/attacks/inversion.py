"""An inversion network: trained on leaked pairs to give the secret, or the result, of photos alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from hidemia.benchmarks.attacks.sources import Image
from hidemia.training.loop import learning_rate

FEATURES = (24, 24, 48, 48, 96, 24)
RATE = 3e-3
CROP_PX = 64
BATCH = 8
GAIN = 16.0  # a hider changes a photo by some levels of 255: amplified, a difference is as large as a photo


class Inversion(nn.Module):
    """A small U-Net on half the size, where a hider's own bands lie: (B, C, H, W) in [0, 1] -> (B, D, H, W).

    It reads the first photo as it is, and of every further one what it differs by, amplified.

    Args:
        given: Channels C of all photos together, three of each.
        wanted: Channels D: three of an image, one of a mask.
    """

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.net = BasicUNet(2, 4 * given, 4 * wanted, FEATURES, norm="batch", upsample="nontrainable")
        self.masks = wanted == 1
        self._mask_loss = DiceCELoss(sigmoid=True, batch=True)

    def forward(self, photos: Tensor) -> Tensor:
        """See the class."""
        found = self._found(photos)
        return found.sigmoid() if self.masks else found + 0.5

    def loss(self, photos: Tensor, truth: Tensor) -> Tensor:
        """Squared error of an image; of a mask cross-entropy and Dice, for most of a mask is background."""
        found = self._found(photos)
        loss: Tensor = self._mask_loss(found, truth) if self.masks else F.mse_loss(found + 0.5, truth)
        return loss

    def _found(self, photos: Tensor) -> Tensor:
        first, *further = photos.split(3, dim=1)
        seen = torch.cat([first - 0.5, *(GAIN * (photo - first) for photo in further)], dim=1)
        found: Tensor = F.pixel_shuffle(self.net(F.pixel_unshuffle(seen, 2)), 2)
        return found


def train_inversion(given: Image, wanted: Image, *, seed: int, steps: int, batch: int) -> Inversion:
    """Learn from leaked pairs to give one from the other, on crops that are mirrored alike.

    Args:
        given: (N, S, S, C) uint8: what the attacker sees.
        wanted: (N, S, S, D) uint8: what it stands for.
        seed: Of weights and batches.
        steps: Of Adam.
        batch: Crops a step.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    network = Inversion(given.shape[-1], wanted.shape[-1]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps))
    with torch.enable_grad():
        for _ in range(steps):
            photos, truth = _batch(given, wanted, batch, draw)
            loss = network.loss(photos, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def invert(network: Inversion, given: Image) -> Image:
    """(N, S, S, C) uint8 -> (N, S, S, D) uint8."""
    parts = [network(_tensor(given[at : at + BATCH])) for at in range(0, len(given), BATCH)]
    found = torch.cat(parts).clamp(0, 1).mul(255).round().to(torch.uint8)
    return found.permute(0, 2, 3, 1).contiguous().numpy()


def _batch(given: Image, wanted: Image, batch: int, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
    size = given.shape[1]
    crop = min(CROP_PX, size)
    photos, truth = [], []
    for row in draw.integers(0, len(given), batch):
        # Even places: the bands of a hider begin at every second pixel.
        top, left = 2 * draw.integers(0, (size - crop) // 2 + 1, 2)
        for images, crops in ((given, photos), (wanted, truth)):
            crops.append(images[row, top : top + crop, left : left + crop])
    return _tensor(np.stack(photos)), _tensor(np.stack(truth))


def _tensor(images: Image) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
