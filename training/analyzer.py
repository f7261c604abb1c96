"""The analyzer M: a U-Net for each wavelet band of the stego, MoDC and AsyWA inside (Fig. 2), and Eq. 1."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor, nn

from hidemia.training.asywa import AsyWA
from hidemia.training.modc import MoDC
from hidemia.training.roles import AnyAnalyzer, Features
from hidemia.training.seal import pattern, spread
from hidemia.training.verdict import Verdict, in_tiles
from hidemia.training.wavelet import BANDS, dwt, iwt, join, split


class AnalyzerConfig(Struct, frozen=True, tag="hidemia", tag_field="kind"):
    """Settings of the analyzer; the defaults are those of the shipped models.

    Attributes:
        width: channels of the first level, doubled at each further one.
        levels: resolutions of each U-Net, the first at half the image's size.
        k, candidates, strength, diagonals: of `MoDC`.
        attention, scale: variant and scale of `AsyWA`.
        attention_levels: how many of the deepest levels have it.
        residual: bands to which the stego's own band is added: ``all``, ``ll`` (Eq. 1) or ``none`` (Table 3).
        seal: seed of the pattern that marks a reply, see `hidemia.training.seal`; None writes none, as in the paper.
        classes: of the verdict it writes, see `hidemia.training.verdict`; None writes a mask, pixel by pixel.
    """

    width: int = 16
    levels: int = 4
    k: int = 2
    candidates: tuple[int, ...] = (1, 2, 3, 4, 5)
    strength: float = 0.5
    diagonals: str = "project"
    attention: str = "asymmetric"
    scale: str = "n"
    attention_levels: int = 2
    residual: str = "all"
    seal: int | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        if self.residual not in ("all", "ll", "none"):
            raise ValueError(f"residual: expected 'all', 'll' or 'none', got {self.residual!r}")
        if not 0 <= self.attention_levels <= self.levels:
            raise ValueError(f"attention_levels: expected 0 to {self.levels}, got {self.attention_levels}")

    def residual_bands(self) -> tuple[str, ...]:
        """The bands that are residual."""
        return {"all": BANDS, "ll": ("ll",), "none": ()}[self.residual]

    def build(self, image_size_px: int) -> Analyzer:  # noqa: ARG002 - any size that its levels divide
        """A fresh analyzer."""
        return Analyzer(self)


class DoubleConv(nn.Module):
    """(MoDC, batch norm, ReLU) twice: (B, I, h, w) -> (B, O, h, w)."""

    def __init__(self, inputs: int, outputs: int, config: AnalyzerConfig) -> None:
        super().__init__()
        options = (config.k, config.candidates, config.strength, config.diagonals)
        self.conv1, self.norm1 = MoDC(inputs, outputs, *options), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = MoDC(outputs, outputs, *options), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the resolution."""
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x)))


class BandUNet(nn.Module):
    """The U-Net of one band, in steps, so that the four can meet in AsyWA between them."""

    def __init__(self, config: AnalyzerConfig) -> None:
        super().__init__()
        widths = [config.width * 2**level for level in range(config.levels)]
        self.down = nn.ModuleList(
            DoubleConv(inputs, outputs, config) for inputs, outputs in pairwise([front_channels(), *widths])
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in pairwise(widths))
        self.merge = nn.ModuleList(DoubleConv(2 * width, width, config) for width in widths[:-1])

    def decode(self, levels: list[Tensor]) -> Tensor:
        """Features of all levels, finest first -> (B, width, h, w)."""
        x = levels[-1]
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([levels[level], self.up[level](x)], dim=1))
        return x


def front_channels() -> int:
    """Channels that `front` makes of a band of three colours."""
    return 6


_LAPLACIAN = torch.tensor([[0.0, -1.0, 0.0], [-1.0, 4.0, -1.0], [0.0, -1.0, 0.0]]).repeat(3, 1, 1, 1)


def front(band: Tensor, name: str) -> Tensor:
    """What a U-Net reads of its band: (B, 3, h, w) -> (B, 6, h, w) in about [-1, 1].

    The band at a common scale, and its Laplacian amplified 32 times and clamped: what is hidden is about two
    grey levels strong and would vanish in the first convolution beside the cover's own content.
    """
    with torch.autocast(band.device.type, enabled=False):
        fine = F.conv2d(band, _LAPLACIAN.to(band), padding=1, groups=3)
    scaled = band - 1 if name == "ll" else band * 8
    return torch.cat([scaled, (fine * 32).clamp(-1, 1)], dim=1)


class Analyzer(AnyAnalyzer):
    """M: the stego (B, 3, H, W) in [0, 1] -> the reply (B, 3, H, W), before the 8-bit channel.

    H and W are divisible by 2 ** levels. The heads start at zero: a fresh analyzer answers with the stego.
    ``channels`` are those of its levels, coarsest first, of all bands together.
    """

    def __init__(self, config: AnalyzerConfig | None = None) -> None:
        super().__init__()
        self.config = config or AnalyzerConfig()
        self.width, self.seal = self.config.width, self.config.seal
        self.unets = nn.ModuleDict({band: BandUNet(self.config) for band in BANDS})
        self.heads = nn.ModuleDict({band: nn.Conv2d(self.config.width, 3, 1) for band in BANDS})
        for head in self.heads.values():
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        if self.seal is not None:
            self.seals = nn.ModuleDict({band: nn.Conv2d(self.config.width, 3, 1) for band in BANDS})
            for seal in self.seals.values():
                nn.init.zeros_(seal.weight)
                nn.init.zeros_(seal.bias)
            self.register_buffer("signs", pattern(self.seal), persistent=False)
        classes = self.config.classes
        self.channels = [len(BANDS) * self.width * 2**level for level in reversed(range(self.config.levels))]
        self.verdict = None if classes is None else Verdict(self.channels[0], classes)
        first = self.config.levels - self.config.attention_levels
        self.attention = nn.ModuleDict(
            {
                str(level): AsyWA(self.config.width * 2**level, 8, self.config.attention, self.config.scale)
                for level in range(first, self.config.levels)
            }
        )

    def features(self, bands: dict[str, Tensor]) -> Features:
        """The last features of the four U-Nets by band, each (B, width, H/2, W/2), and the verdict of their deepest."""
        x = {name: front(bands[name], name) for name in BANDS}
        levels: list[dict[str, Tensor]] = []
        for level in range(self.config.levels):
            x = {name: self.unets[name].down[level](F.max_pool2d(x[name], 2) if level else x[name]) for name in BANDS}
            if str(level) in self.attention:
                x = self.attention[str(level)](x)
            levels.append(x)
        verdict = None if self.verdict is None else self.verdict(x)
        maps = {name: self.unets[name].decode([level[name] for level in levels]) for name in BANDS}
        return Features(maps, verdict, levels)

    def reply(self, bands: dict[str, Tensor], features: Features) -> Tensor:
        """Eq. 1: x_mia = IWT(x_stego^LL + x_mia^LL, x_mia^HL, x_mia^LH, x_mia^HH); residual as configured."""
        maps, verdict = features.maps, None
        if features.verdict is not None:
            height, width = (int(side) for side in bands["ll"].shape[2:])  # int: a constant when traced for export
            verdict = in_tiles(features.verdict, height, width)
        outputs = {name: 0.1 * self._written(name, maps[name], verdict).to(bands[name].dtype) for name in BANDS}
        for name in self.config.residual_bands():
            outputs[name] = bands[name] + outputs[name]
        return iwt(join(outputs))

    def _written(self, name: str, features: Tensor, verdict: Tensor | None) -> Tensor:
        """What a band is changed by: the result, and the seal, whose strength is learned and whose signs are fixed."""
        written: Tensor = self.heads[name](features)
        if verdict is not None:
            written = written * verdict
        if self.seal is not None:
            written = written + self.seals[name](features) * spread(self.signs, *features.shape[2:])
        return written

    def writers(self) -> list[nn.Module]:
        """What writes a verdict and has no part in it: the ways up of the U-Nets, the last convolutions, the seal."""
        unets = self.unets.values()
        decoders = [part for unet in unets for part in (unet.up, unet.merge)]
        return [*decoders, self.heads, *([] if self.seal is None else [self.seals])]

    def forward(self, stego: Tensor) -> Tensor:
        """x_mia = M(x_stego)."""
        bands = split(dwt(stego))
        return self.reply(bands, self.features(bands))
