"""The plain networks of the paper's Tables 1 and 3: U-Net where the result is a mask, ResNet-50 where it is a class."""

from __future__ import annotations

from torch import Tensor

from hidemia.training.resnet import ResNet50
from hidemia.training.roles import AnyPlain
from hidemia.training.unet import UNet


class Vanilla(AnyPlain):
    """Both as published at a width of 64: 31,037,633 parameters, or 23,508,032 and 2,049 a class."""

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        self.classes = classes
        self.network = UNet(1, width) if classes is None else ResNet50(classes, width)

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).float()
