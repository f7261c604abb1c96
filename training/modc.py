"""Mixture-of-Difference-Convolutions (Eq. 2 and Eq. 3).

All six convolutions of Eq. 2 share one 3x3 kernel w and read the input at P_i(d) instead of the offset d:

====  ==============  =====================  =========================================
 i    convolution     P_i(dx, dy)            support
====  ==============  =====================  =========================================
 0    vanilla         (dx, dy)               3x3
 1    central         (0, 0)                 the centre
 2    horizontal      (dx, 0)                middle row
 3    vertical        (0, dy)                middle column
 4    left diagonal   (dx + dy, dx + dy)     main diagonal, of a 5x5 in ``literal5``
 5    right diagonal  (dx - dy, dy - dx)     anti-diagonal, of a 5x5 in ``literal5``
====  ==============  =====================  =========================================

(x is the column, y the row; the printed equation has absolute positions where only offsets make sense.) So
D_i is the convolution with T_i(w), T_i a fixed linear map, and Eq. 3 is **one** convolution, a kernel per
sample::

    x_out = conv(x, w - lambda * sum_i g_i T_i(w)),        g_i = delta_i / sum over the k largest delta_j

``project`` halves the diagonals' offsets, which makes D4 and D5 orthogonal projections like D1 to D3 and
keeps them inside 3x3: what the text calls the receptive field. ``literal5`` is what is printed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = ("vanilla", "central", "horizontal", "vertical", "left_diagonal", "right_diagonal")
OFFSETS = [(dx, dy) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]  # row-major, as a kernel lies in memory


def _taps(i: int, dx: int, dy: int, diagonals: str) -> list[tuple[int, int, float]]:
    """Where offset (dx, dy) of w lands in T_i(w): (x, y, share)."""
    if i == 0:
        return [(dx, dy, 1.0)]
    if i in (1, 2, 3):
        return [(dx if i == 2 else 0, dy if i == 3 else 0, 1.0)]
    along, sign = (dx + dy, 1) if i == 4 else (dx - dy, -1)
    if diagonals == "literal5":
        return [(along, sign * along, 1.0)]
    # Half offsets fall between two pixels of the diagonal and are shared between them.
    low, high = along // 2, -(-along // 2)
    return [(step, sign * step, 0.5) for step in (low, high)]


def difference_maps(diagonals: str) -> Tensor:
    """The linear maps T_0 to T_5 on flattened kernels: (6, 9, 9), or (6, 25, 9) for ``literal5``."""
    if diagonals not in ("project", "literal5"):
        raise ValueError(f"diagonals: expected 'project' or 'literal5', got {diagonals!r}")
    side = 5 if diagonals == "literal5" else 3
    maps = torch.zeros(6, side * side, 9)
    for i in range(6):
        for column, (dx, dy) in enumerate(OFFSETS):
            for x, y, share in _taps(i, dx, dy, diagonals):
                maps[i, (y + side // 2) * side + x + side // 2, column] += share
    return maps


def expert_weights(delta: Tensor, k: int) -> Tensor:
    """The g of Eq. 3: (B, n) gate probabilities -> (B, n), the k largest made to sum to 1, others zero."""
    if k == 0:
        return torch.zeros_like(delta)
    kth = delta.topk(k, dim=1).values[:, -1:]
    kept = torch.where(delta >= kth, delta, torch.zeros_like(delta))
    return kept / kept.sum(dim=1, keepdim=True)


class MoDC(nn.Module):
    """Mixture-of-Difference-Convolutions, a drop-in for a 3x3 convolution without bias.

    (B, I, H, W) -> (B, O, H, W).

    Args:
        inputs, outputs: channels.
        k: difference convolutions kept per sample (0 is a plain convolution, 5 keeps all; Table 4).
        candidates: which of D_1..D_5 the gate may choose from (Table 5).
        strength: lambda of Eq. 3.
        diagonals: ``project`` or ``literal5``.
    """

    maps: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        k: int = 2,
        candidates: tuple[int, ...] = (1, 2, 3, 4, 5),
        strength: float = 0.5,
        diagonals: str = "project",
    ) -> None:
        super().__init__()
        if not 0 <= k <= len(candidates):
            raise ValueError(f"k: expected 0 to {len(candidates)} (the candidates), got {k}")
        if not set(candidates) <= {1, 2, 3, 4, 5} or len(set(candidates)) != len(candidates):
            raise ValueError(f"candidates: expected different numbers from 1 to 5, got {candidates}")
        self.k, self.candidates, self.strength = k, candidates, strength
        self.active = k  # training activates all candidates now and then, see `hidemia.training.loop`
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.register_buffer("maps", difference_maps(diagonals), persistent=False)
        if k:
            self._start_as_a_plain_convolution()
        self.side = 5 if diagonals == "literal5" else 3
        if k:
            hidden = max(8, inputs // 4)
            layers = (nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, len(candidates)))
            self.gate = nn.Sequential(*layers)
            nn.init.normal_(self.gate[2].weight, std=0.01)  # near-equal experts at first, but never a tie
            nn.init.normal_(self.gate[2].bias, std=0.01)

    @torch.no_grad()
    def _start_as_a_plain_convolution(self) -> None:
        """Chooses w so that what Eq. 3 makes of it, the experts being equal, is what w was.

        Each T_i keeps the sum of a kernel, so that Eq. 3 leaves even areas 1 - lambda of their strength: half, once
        a layer, sixteen layers deep. An analyzer that starts like that is blind to whatever is larger than texture.
        """
        mixed = self.maps[0] - self.strength * self.maps[list(self.candidates)].mean(dim=0)
        start = torch.linalg.pinv(mixed) @ self.maps[0]  # at lambda = 1 and one candidate there is no inverse
        self.weight.copy_(torch.einsum("pk,oik->oip", start, self.weight.flatten(2)).unflatten(2, (3, 3)))

    def expert_weights(self, x: Tensor) -> Tensor:
        """The g of Eq. 3 for each candidate: (B, I, H, W) -> (B, len(candidates)), float32."""
        with torch.autocast(x.device.type, enabled=False):
            delta = self.gate(x.to(self.weight.dtype).mean(dim=(2, 3))).softmax(dim=1)
            return expert_weights(delta, self.active)

    def kernels(self, g: Tensor) -> Tensor:
        """The kernels of Eq. 3, one per sample: (B, len(candidates)) -> (B, O, I, side, side)."""
        differences = self.maps[list(self.candidates)]  # (n, side^2, 9)
        mixed = self.maps[0] - self.strength * torch.einsum("bn,npk->bpk", g, differences)
        kernels = torch.einsum("bpk,oik->boip", mixed, self.weight.flatten(2))
        return kernels.unflatten(3, (self.side, self.side))

    def forward(self, x: Tensor) -> Tensor:
        """Eq. 3."""
        if self.k == 0:
            return F.conv2d(x, self.weight, padding=1)
        batch = x.shape[0]
        with torch.autocast(x.device.type, enabled=False):
            kernels = self.kernels(self.expert_weights(x))
        # One convolution for the whole batch: sample b is group b.
        grouped = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), padding=self.side // 2, groups=batch)
        return grouped.reshape(batch, -1, *x.shape[2:])
