"""DeepStega (Baluja, NeurIPS 2017) in the single-branch form that the paper's Table 7 fits best.

Three plain networks: ``prepare`` makes maps of the secret, ``conceal`` draws the stego from cover and maps,
``reveal`` draws the secret from a photo. Kernels of 4 and 2 make sizes drift by a pixel a layer, to the size of the
photo at the end.
"""

from __future__ import annotations

import torch
from msgspec import Struct
from torch import Tensor, nn

from hidemia.training.roles import AnyHider, in_float32


class DeepStegaConfig(Struct, frozen=True, tag="deepstega", tag_field="kind"):
    """Settings of `DeepStega`; the defaults are the published network.

    Attributes:
        width: maps of the inner layers.
        prepared: maps that are made of the secret; with 24 the network has the 0.49 M parameters of Table 7.
    """

    width: int = 50
    prepared: int = 7

    def build(self) -> DeepStega:
        """Fresh networks."""
        return DeepStega(self.width, self.prepared)


class DeepStega(AnyHider):
    """469,673 parameters as published. Photos of any size."""

    def __init__(self, width: int = 50, prepared: int = 7) -> None:
        super().__init__()
        narrow = width * 3 // 5
        self.prepare = _chain([3, width, width, width, narrow, prepared], kernels=[4, 4, 4, 2, 2], pads=[1] * 5)
        self.conceal = _chain(
            [3 + prepared, width, width, width, width, narrow, 3], kernels=[4, 4, 4, 4, 2, 2], pads=[2, 1, 2, 1, 1, 0]
        )
        self.reveal = _chain([3, 2 * width, 2 * width, width, 3], kernels=[4, 4, 4, 2], pads=[2, 2, 1, 0])

    def hide(self, secret: Tensor, cover: Tensor) -> Tensor:
        """As `AnyHider.hide`; values in [-1, 1], of which the channel keeps those above 0."""
        maps = enlarged(_drawn(self.prepare, secret))  # one pixel short in each direction
        return _drawn(self.conceal, torch.cat([cover, maps], dim=1))

    def recover(self, photo: Tensor) -> Tensor:
        """As `AnyHider.recover`; values in [-1, 1]."""
        return _drawn(self.reveal, photo)


def _chain(channels: list[int], kernels: list[int], pads: list[int]) -> nn.Sequential:
    """Convolutions with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel, pad in zip(channels, channels[1:], kernels, pads, strict=False):
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=pad), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _drawn(chain: nn.Sequential, x: Tensor) -> Tensor:
    return torch.tanh(in_float32(chain[-1], chain[:-1](x)))


def enlarged(x: Tensor) -> Tensor:
    """One row and one column of zeros at the bottom and the right: (B, C, H, W) -> (B, C, H + 1, W + 1).

    Written as a concatenation, because a padding with numbers on two sides is exported as shape arithmetic.
    """
    x = torch.cat([x, 0 * x[:, :, -1:]], dim=2)
    return torch.cat([x, 0 * x[..., -1:]], dim=3)
