"""Analyzers of other papers: networks from photo to photo, in the place of HideMIA's.

As the paper has it, such a network gives three channels, without a residual and without an activation, and must
draw the whole photo again. With ``residual="all"``, which is ours, it draws only what changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor, nn

from hidemia.training.roles import AnyAnalyzer, Features, in_float32
from hidemia.training.wavelet import iwt, join

STRIDE = 16  # each of these networks halves an image four times


class PixelNetwork(nn.Module, ABC):
    """A network with an encoder, a decoder and a head, in two steps.

    Attributes:
        channels: of its last features.
        head: the layer that makes the outputs of the last features.
    """

    channels: int
    head: nn.Module

    @abstractmethod
    def features(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, channels, H, W)."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, outputs, H, W), without an activation."""
        return in_float32(self.head, self.features(image))


class PixelConfig(Struct, frozen=True, tag_field="kind"):
    """Settings that these analyzers share.

    Attributes:
        residual: ``none`` as in the paper, or ``all``: the stego is added to what the network gives.
    """

    residual: Literal["none", "all"] = "none"

    def network(self, outputs: int, image_size_px: int) -> PixelNetwork:
        """The network itself, fresh, for images of three colours."""
        raise NotImplementedError  # abstract; but a Struct has a metaclass of its own, and is no ABC

    def build(self, image_size_px: int) -> PixelAnalyzer:
        """The network as an analyzer.

        Raises:
            ValueError: it cannot take images of this size.
        """
        if image_size_px % STRIDE:
            raise ValueError(f"image_size_px: expected a multiple of {STRIDE}, got {image_size_px}")
        return PixelAnalyzer(self.network(3, image_size_px), self.residual)


class PixelAnalyzer(AnyAnalyzer):
    """A network of pixels, where a system expects an analyzer of bands."""

    def __init__(self, network: PixelNetwork, residual: Literal["none", "all"] = "none") -> None:
        super().__init__()
        self.network, self.residual, self.width = network, residual, network.channels
        if residual == "all":  # a fresh analyzer answers with the stego
            for parameter in network.head.parameters():
                nn.init.zeros_(parameter)

    def features(self, bands: dict[str, Tensor]) -> Features:
        """The four pixels of each 2x2 block become channels, so that the size is that of bands."""
        return Features({"pixels": F.pixel_unshuffle(self.network.features(iwt(join(bands))), 2)})

    def reply(self, bands: dict[str, Tensor], features: Features) -> Tensor:
        return self._answered(iwt(join(bands)), F.pixel_shuffle(features.maps["pixels"], 2))

    def forward(self, stego: Tensor) -> Tensor:
        return self._answered(stego, self.network.features(stego))

    def _answered(self, stego: Tensor, features: Tensor) -> Tensor:
        drawn = in_float32(self.network.head, features)
        return stego + drawn if self.residual == "all" else drawn
