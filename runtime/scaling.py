"""How an image of any size became the network's square, and where a point of the one lies in the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Scaling"]


@dataclass(frozen=True, slots=True)
class Scaling:
    """The mapping between an image and the network's square. Sides are scaled apart: the aspect ratio is not kept.

    Attributes:
        height: Of the image, in px.
        width: Of the image, in px.
        network_px: Side of the network's square.
    """

    height: int
    width: int
    network_px: int

    @property
    def scale_x(self) -> float:
        """Pixels of the image for each of the network's, to the right."""
        return self.width / self.network_px

    @property
    def scale_y(self) -> float:
        """Pixels of the image for each of the network's, downwards."""
        return self.height / self.network_px

    @property
    def interpolation(self) -> Literal["none", "area", "linear", "area, linear"]:
        """How `photo.fit` scaled the image: by area where a side shrank, linearly where it grew, area first."""
        sides = (self.height, self.width)
        shrank = any(side > self.network_px for side in sides)
        grew = any(side < self.network_px for side in sides)
        if shrank and grew:
            return "area, linear"
        return "area" if shrank else "linear" if grew else "none"

    @property
    def mask_interpolation(self) -> Literal["none", "nearest"]:
        """How `photo.scale_mask` scaled the mask to the image's size."""
        return "none" if self.interpolation == "none" else "nearest"

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """The point of the image that a point of the network's square shows; pixel centres are whole numbers."""
        return (x + 0.5) * self.scale_x - 0.5, (y + 0.5) * self.scale_y - 0.5

    def to_network(self, x: float, y: float) -> tuple[float, float]:
        """The point of the network's square that shows a point of the image; pixel centres are whole numbers."""
        return (x + 0.5) / self.scale_x - 0.5, (y + 0.5) / self.scale_y - 0.5
