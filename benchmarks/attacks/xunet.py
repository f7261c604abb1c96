"""The convolutional detector: a narrow network of the XuNet family, for colour.

As Xu, Wu and Shi (2016): fixed high-pass filters first, absolute values after the first convolution, tanh in the first
two groups, 1x1 convolutions in the last three, batch norm and average pooling throughout, a global mean at the end.
Ours reads each of the three colours through three filters instead of grey through one, and has one output.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.benchmarks.attacks.scores import Scores
from hidemia.benchmarks.attacks.sources import Image
from hidemia.training.loop import learning_rate

WIDTH = 8
RATE = 4e-3
BATCH = 32  # of photos while scoring

# Second differences along rows and columns, and the filter of Ker and Boehme (2008); each sums to 0.
FILTERS = torch.zeros(3, 1, 5, 5)
FILTERS[0, 0, 2, 1:4] = torch.tensor([1.0, -2, 1]) / 2
FILTERS[1, 0, 1:4, 2] = torch.tensor([1.0, -2, 1]) / 2
OUTER, INNER = [-1.0, 2, -2, 2, -1], [2.0, -6, 8, -6, 2]
FILTERS[2, 0] = torch.tensor([OUTER, INNER, [-2, 8, -12, 8, -2], INNER, OUTER]) / 12


class XuNet(nn.Module):
    """uint8 (B, 3, H, W) -> (B,): the logit of `hidden`. Any size of 32 px or more."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.register_buffer("filters", FILTERS.repeat(3, 1, 1, 1), persistent=False)
        widths = [9, *(width * 2**i for i in range(5))]
        sizes = (5, 5, 1, 1, 1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, size, padding=size // 2, bias=False)
            for a, b, size in zip(widths[:-1], widths[1:], sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, photos: Tensor) -> Tensor:
        """See the class."""
        x = F.conv2d(photos.float(), self.get_buffer("filters"), groups=3).clamp(-16, 16)
        for group, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            x = norm(x.abs() if group == 0 else x)
            x = x.tanh() if group < 2 else x.relu()
            x = F.avg_pool2d(x, 5, stride=2, padding=2) if group < 4 else x.mean(dim=(2, 3))
        out: Tensor = self.last(x)
        return out[:, 0]


def train_xunet(
    clean: Image, hidden: Image, *, seed: int, steps: int, pairs_a_step: int, crop_px: int, width: int = WIDTH
) -> XuNet:
    """Train a detector on pairs; both halves of a pair are in one step, cropped, turned and mirrored alike.

    Args:
        clean: (N, S, S, 3) uint8, covers.
        hidden: (N, S, S, 3) uint8, the same covers with something in them.
        seed: Of weights and batches.
        steps: Of Adam, with a warm-up and a rate that falls along a cosine.
        pairs_a_step: Pairs in a batch.
        crop_px: Side of the crops.
        width: Of the first group.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    network = XuNet(width).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps))
    truth = torch.tensor([0.0, 1.0]).repeat(pairs_a_step)
    with torch.enable_grad():
        for _ in range(steps):
            photos = _batch(clean, hidden, pairs_a_step, crop_px, draw)
            loss = F.binary_cross_entropy_with_logits(network(photos), truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def score(network: XuNet, photos: Image) -> Scores:
    """(N, S, S, 3) uint8, whole -> (N,): higher where something is hidden."""
    parts = [network(_tensor(photos[at : at + BATCH])) for at in range(0, len(photos), BATCH)]
    return torch.cat(parts).double().numpy()


def _batch(clean: Image, hidden: Image, pairs: int, crop_px: int, draw: np.random.Generator) -> Tensor:
    """(2 * pairs, 3, c, c), cover and its partner in turn."""
    room = clean.shape[1] - crop_px
    photos = []
    for row in draw.integers(0, len(clean), pairs):
        top, left, turns, mirrored = *draw.integers(0, room + 1, 2), draw.integers(4), draw.integers(2)
        for photo in (clean[row], hidden[row]):
            crop = np.rot90(photo[top : top + crop_px, left : left + crop_px], turns)
            photos.append(crop[:, ::-1] if mirrored else crop)
    return _tensor(np.stack(photos))


def _tensor(photos: Image) -> Tensor:
    # Rows, columns, colours as they lie in memory: half the time of the network, whose layers are thin.
    return torch.from_numpy(photos).permute(0, 3, 1, 2)
