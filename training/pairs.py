"""The twelve pairs of Tables 1 and 2: an analyzer of another paper, on a hider of another paper."""

from __future__ import annotations

from hidemia.training.cmunext import CMUNeXtConfig
from hidemia.training.deepstega import DeepStegaConfig
from hidemia.training.hidden import HiddenConfig
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.recipe import Recipe
from hidemia.training.transunet import TransUNetConfig
from hidemia.training.unet import UNetConfig
from hidemia.training.xnet import XNetConfig

HIDERS = {
    "lightih": HiderConfig(slope=0.01),
    "hinet": HiderConfig(blocks=16, slope=0.01),
    "deepstega": DeepStegaConfig(),
    "hidden": HiddenConfig(),
}

RIVALS = {"unet": UNetConfig(), "transunet": TransUNetConfig(), "xnet": XNetConfig(), "cmunext": CMUNeXtConfig()}


def pair(analyzer: str, hider: str) -> Recipe:
    """A rival of Tables 1 and 2: a key of `RIVALS` on a frozen hider, a key of `HIDERS`, by L_total alone."""
    model = ModelConfig(f"{analyzer}-{hider}", form="printed", hider=HIDERS[hider], analyzer=RIVALS[analyzer])
    stages = (
        StageConfig("hide", steps=20000, batch=8, size_px=224, hider_rate=1e-4),
        StageConfig(
            "analyze_frozen", steps=20000, batch=8, size_px=224, analyzer_rate=5e-4, reply_weight=200.0
        ),
    )  # fmt: skip
    return Recipe(model, stages)


PAIRS = [pair(analyzer, hider) for hider in ("hinet", "deepstega", "hidden") for analyzer in RIVALS]
