"""The roles of Fig. 1: what every hider, analyzer and plain network gives, whichever paper it comes from.

A system is built, trained, saved and exported through these alone. What only one network has, such as the seal of
`hidemia.training.seal`, is used by the stages made for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class AnyHider(nn.Module, ABC):
    """H and R: two networks with one file of weights."""

    @abstractmethod
    def hide(self, secret: Tensor, cover: Tensor) -> Tensor:
        """x_stego = H(x_secret, x_cover): images (B, 3, H, W) in [0, 1] -> the same, before the channel."""

    @abstractmethod
    def recover(self, photo: Tensor) -> Tensor:
        """R: a stego or reply (B, 3, H, W) in [0, 1] -> what is hidden in it, (B, 3, H, W), unclipped."""


class Features(NamedTuple):
    """What an analyzer has read of a stego, before it writes.

    Attributes:
        maps: its last features by name, each (B, C, H/2, W/2).
        verdict: the class, as logits (B, K), see `hidemia.training.verdict`; None where the analyzer gives none.
        levels: its features on the way down, finest first, each by name and (B, C, h, w); none where the analyzer does
            not show them.
    """

    maps: dict[str, Tensor]
    verdict: Tensor | None = None
    levels: Sequence[dict[str, Tensor]] = ()


class AnyAnalyzer(nn.Module, ABC):
    """M, in two steps, so that training can supervise its features before anything is recovered.

    Attributes:
        width: a quarter of the channels of all maps together.
        seal: seed of the pattern that it writes into replies, see `hidemia.training.seal`; None where it writes none.
        signs: the pattern itself, where there is a seal.
    """

    width: int
    seal: int | None = None
    signs: Tensor

    @abstractmethod
    def features(self, bands: dict[str, Tensor]) -> Features:
        """Bands of the stego by name, each (B, 3, H/2, W/2) -> what is read of them."""

    @abstractmethod
    def reply(self, bands: dict[str, Tensor], features: Features) -> Tensor:
        """The same bands and their features -> x_mia (B, 3, H, W), before the channel."""

    @abstractmethod
    def forward(self, stego: Tensor) -> Tensor:
        """x_mia = M(x_stego): the stego (B, 3, H, W) in [0, 1] -> the reply, before the channel."""


class AnyPlain(nn.Module):
    """The same task on the bare image, nothing hidden: (B, 3, H, W) in [0, 1] -> logits, float32.

    Attributes:
        classes: how many; None where the result is a mask. Then the logits are (B, 1, H, W), else (B, classes).
        noise: of every image it sees, in levels of 255; it sees less without, see `hidemia.training.plain`.
    """

    classes: int | None
    noise: float = 0.0

    def probabilities(self, image: Tensor) -> Tensor:
        """(B, H, W) of a mask, or (B, K), summing to 1."""
        logits: Tensor = self(image)
        return logits.sigmoid()[:, 0] if self.classes is None else logits.softmax(dim=1)


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """The last layer of a network that draws a photo: in bfloat16 it would round to a grey level."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.to(next(layer.parameters()).dtype))
    return result
