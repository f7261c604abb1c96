"""The plain network: the same task on the bare medical image, nothing hidden. What hiding costs is measured by it.

A U-Net, or its encoder where the result is a class, of as many parameters as the analyzer. It reads the wavelet bands
of the image stacked, which lose nothing and keep it as quick as the analyzer; a mask is put together again from four
half-size maps.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hidemia.training.errors import TrainingError
from hidemia.training.model import ModelConfig
from hidemia.training.roles import AnyPlain
from hidemia.training.vanilla import Vanilla
from hidemia.training.wavelet import dwt

BAND_CHANNELS = 12
LL_CHANNELS = 3
LEVELS = 4  # as the shipped analyzers have


@dataclass(frozen=True)
class PlainConfig:
    """Settings of a plain network.

    Attributes:
        network: ``bands``, ours, or ``vanilla``, the paper's.
        noise: standard deviation of what is added to every image, in training and after, see `noisy`.
        width: channels of the first level, doubled at each further one.
        rate: the learning rate that served best, of those that were tried.
        mask_threshold: set on the validation split after training.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    image_size_px: int
    width: int
    levels: int
    rate: float = 0.0
    mask_threshold: float = 0.5
    network: Literal["bands", "vanilla"] = "bands"
    noise: float = 0.0

    @property
    def threshold(self) -> float | None:
        """Probability from which a pixel belongs to the mask; None where the result is a class."""
        return self.mask_threshold if self.task == "segmentation" else None

    def build(self) -> AnyPlain:
        """A fresh network."""
        classes = None if self.task == "segmentation" else len(self.classes)
        vanilla = self.network == "vanilla"
        network = Vanilla(self.width, classes) if vanilla else PlainNetwork(self.width, self.levels, classes)
        network.noise = self.noise
        return network


def vanilla(model: ModelConfig, width: int = 64) -> PlainConfig:
    """The plain network that the paper trains for the model's task."""
    return PlainConfig(model.name, model.task, model.classes, model.image_size_px, width, levels=5, network="vanilla")


def matched(model: ModelConfig) -> PlainConfig:
    """The plain network whose parameters are nearest to those of the model's analyzer, with its head."""
    deeper = 0 if model.task == "segmentation" else 1  # an encoder alone has room for one level more
    config = PlainConfig(model.name, model.task, model.classes, model.image_size_px, width=0, levels=LEVELS + deeper)

    def count(width: int) -> int:
        return _count(dataclasses.replace(config, width=width).build())

    with torch.device("meta"):  # counting needs no memory
        system = model.build()
        wanted = _count(system.analyzer) + _count(system.head)
        above = bisect_left(range(1024), wanted, lo=2, key=count)
        width = min((above - 1, above), key=lambda width: abs(count(width) - wanted))
    return dataclasses.replace(config, width=width)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """(convolution, batch norm, ReLU) twice."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class PlainNetwork(AnyPlain):
    """Images (B, 3, H, W) in [0, 1] -> logits: of a mask (B, 1, H, W), or of classes (B, K)."""

    def __init__(self, width: int, levels: int, classes: int | None) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(_double(*pair) for pair in pairwise([BAND_CHANNELS, *widths]))
        self.classes, self.channels = classes, widths[::-1]  # of the levels, coarsest first
        if classes is not None:
            self.head: nn.Module = nn.Linear(widths[-1], classes)
            return
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(_double(2 * channels, channels) for channels in widths[:-1])
        self.head = nn.Conv2d(width, 4, 1)

    def levels(self, image: Tensor) -> list[Tensor]:
        """Features, finest first: each (B, C, h, w), the first at half the image's size."""
        bands = dwt(image)
        x = torch.cat([bands[:, :LL_CHANNELS] - 1, bands[:, LL_CHANNELS:] * 8], dim=1)
        levels: list[Tensor] = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(F.max_pool2d(x, 2) if level else x)
            levels.append(x)
        return levels

    def forward(self, image: Tensor) -> Tensor:
        """The logits, float32."""
        return self.answer(self.levels(image))

    def answer(self, levels: list[Tensor]) -> Tensor:
        """The logits of features as `levels` gives them, float32."""
        x = levels[-1]
        if self.classes is not None:
            return self.head(x.mean(dim=(2, 3))).float()
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([levels[level], self.up[level](x)], dim=1))
        return F.pixel_shuffle(self.head(x).float(), 2)


def noisy(images: Tensor, noise: float, draw: torch.Generator) -> Tensor:
    """Images in [0, 1] under Gaussian noise of so many grey levels of 255: what is finer cannot be read any more.

    No photo carries a scan to the last grey level. What a plain network finds in images like these shows how much of
    its lead over a system that hides comes from detail that could not travel.
    """
    if noise == 0:
        return images
    return (images + noise / 255 * torch.randn(images.shape, generator=draw).to(images.device)).clamp(0, 1)


def save_plain(network: AnyPlain, config: PlainConfig, folder: Path) -> None:
    """Write ``plain.safetensors`` and ``config.json``, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / "plain.partial")
    (folder / "plain.partial").replace(folder / "plain.safetensors")
    text = msgspec.json.format(msgspec.json.encode(dataclasses.asdict(config), order="sorted"), indent=2)
    (folder / "config.partial").write_bytes(text + b"\n")
    (folder / "config.partial").replace(folder / "config.json")


def load_plain(folder: Path) -> tuple[AnyPlain, PlainConfig]:
    """Build a plain network and fill it, in evaluation mode.

    Raises:
        TrainingError: a file is missing, damaged or does not fit the configuration.
    """
    for name in ("config.json", "plain.safetensors"):
        if not (folder / name).is_file():
            raise TrainingError(
                f"{folder}: expected a plain network, found no {name}; run `hidemia train plain-MODEL` first"
            )
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=PlainConfig)
        network = config.build()
        network.load_state_dict(load_file(folder / "plain.safetensors"))
    except (msgspec.DecodeError, SafetensorError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())[:300]
        raise TrainingError(f"{folder}: expected a plain network, got {line}; train it again") from error
    return network.eval(), config
