"""Asymmetric Wavelet Attention (Eq. 4 to Eq. 6).

Eq. 4 has no softmax and divides by the root of the number of pixels d::

    MHA(x_1, x_2) = Q(x_2) K(x_1)^T V(x_1) / sqrt(d)

so it is associative: M = K(x_1)^T V(x_1) is a small matrix per head, the terms that share a receiver share M,
and the sums of Eq. 5 and Eq. 6 move onto the queries. A receiver r costs one product for all its terms::

    x_out^r = x_in^r + (sum over its sources b of Q(x^b)) M_r
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hidemia.training.wavelet import BANDS, HIGH_BANDS

# Sources of each receiver, row by row of Table 6. The asymmetry: no high band ever reads ll.
_INNER = {band: (band,) for band in BANDS}
_ALL = dict.fromkeys(BANDS, BANDS)
_ASYMMETRIC = {"ll": BANDS} | dict.fromkeys(HIGH_BANDS, HIGH_BANDS)
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "none": {},
    "inner": _INNER,
    "inter_symmetric": {r: tuple(b for b in sources if b != r) for r, sources in _ALL.items()},
    "inter_asymmetric": {r: tuple(b for b in sources if b != r) for r, sources in _ASYMMETRIC.items()},
    "symmetric": _ALL,
    "asymmetric": _ASYMMETRIC,  # the paper's choice
}


class AsyWA(nn.Module):
    """Attention among the four bands of one level: bands by name, each (B, C, h, w) -> the same.

    Each band has its own Q, K, V, after a layer norm over channels, and an output projection that starts at
    zero (the paper prints neither; without the norm the term grows with the cube of the features).

    Args:
        channels: C, divisible by ``heads``.
        heads: heads of the multi-head attention.
        variant: a row of Table 6, a key of `VARIANTS`.
        scale: ``sqrt_n`` divides by the root of the number of pixels as printed, ``n`` by their number, which
            keeps the term's size independent of the resolution.
    """

    def __init__(self, channels: int, heads: int = 8, variant: str = "asymmetric", scale: str = "n") -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, got {variant!r}")
        if scale not in ("n", "sqrt_n"):
            raise ValueError(f"scale: expected 'n' or 'sqrt_n', got {scale!r}")
        self.heads, self.sources, self.power = heads, VARIANTS[variant], 1.0 if scale == "n" else 0.5
        if self.sources:
            if channels % heads:
                raise ValueError(f"channels: expected a multiple of the {heads} heads, got {channels}")
            self.norm = nn.ModuleDict({band: nn.LayerNorm(channels) for band in BANDS})
            self.qkv = nn.ModuleDict({band: nn.Linear(channels, 3 * channels) for band in BANDS})
            self.out = nn.ModuleDict({band: nn.Linear(channels, channels) for band in BANDS})
            for projection in self.out.values():
                nn.init.zeros_(projection.weight)
                nn.init.zeros_(projection.bias)

    def forward(self, bands: dict[str, Tensor]) -> dict[str, Tensor]:
        """Eq. 5 and Eq. 6; heads are nh below."""
        if not self.sources:
            return bands
        with torch.autocast(bands["ll"].device.type, enabled=False):  # sums over all pixels: float32
            q, matrix = {}, {}
            for name in BANDS:
                x = bands[name].to(self.out[name].weight.dtype).flatten(2).transpose(1, 2)  # (B, N, C)
                qkv = self.qkv[name](self.norm[name](x))  # (B, N, 3C)
                qkv = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
                q[name], k, v = qkv.unbind(0)  # each (B, nh, N, C/nh)
                matrix[name] = k.transpose(2, 3) @ v / x.shape[1] ** self.power  # (B, nh, C/nh, C/nh)
            return {b: bands[b] + self._received(b, q, matrix[b], bands[b].shape[2:]) for b in BANDS}

    def _received(self, receiver: str, q: dict[str, Tensor], matrix: Tensor, size: torch.Size) -> Tensor:
        """The sum of Eq. 5 (receiver ll) or Eq. 6 (a high band), (B, C, h, w)."""
        query = torch.stack([q[source] for source in self.sources[receiver]]).sum(dim=0)
        attended = (query @ matrix).transpose(1, 2).flatten(2)  # (B, N, C)
        return self.out[receiver](attended).transpose(1, 2).unflatten(2, size)
