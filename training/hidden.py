"""HiDDeN (Zhu, Kaplan, Johnson, Fei-Fei, ECCV 2018) in the form that hides an image: the one of Table 7.

The encoder makes features of the cover and reads the secret beside them, the decoder draws it from a photo. The
published discriminator, whose loss weighs a thousandth, is left out.
"""

from __future__ import annotations

import torch
from msgspec import Struct
from torch import Tensor, nn

from hidemia.training.roles import AnyHider, in_float32

REPEATS = 11  # of the secret beside the features: published so, and counted in its parameters


class HiddenConfig(Struct, frozen=True, tag="hidden", tag_field="kind"):
    """Settings of `Hidden`; the default is the published network.

    Attributes:
        width: maps of every layer.
    """

    width: int = 64

    def build(self) -> Hidden:
        """Fresh networks."""
        return Hidden(self.width)


class Hidden(AnyHider):
    """319,299 parameters of the encoder and 263,043 of the decoder as published. Photos of any size."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.read = nn.Sequential(_unit(3, width), *(_unit(width, width) for _ in range(3)))
        self.mix = nn.Sequential(_unit(3 * REPEATS + width + 3, width), *(_unit(width, width) for _ in range(4)))
        self.draw = nn.Conv2d(width, 3, 1)
        self.reveal = nn.Sequential(_unit(3, width), *(_unit(width, width) for _ in range(7)))
        self.draw_secret = nn.Conv2d(width, 3, 3, padding=1)

    def hide(self, secret: Tensor, cover: Tensor) -> Tensor:
        """As `AnyHider.hide`."""
        features = self.read(cover)
        mixed = self.mix(torch.cat([*[secret] * REPEATS, features, cover], dim=1))
        return in_float32(self.draw, mixed)

    def recover(self, photo: Tensor) -> Tensor:
        """As `AnyHider.recover`."""
        return in_float32(self.draw_secret, self.reveal(photo))


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())
