"""A system small enough for tests, with weights that make every part matter."""

from __future__ import annotations

import torch
from torch import nn

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.system import System


def micro_config(**changes: object) -> ModelConfig:
    """64 px, two blocks, two levels of width 8."""
    settings: dict[str, object] = {
        "image_size_px": 64,
        "hider": HiderConfig(blocks=2, growth=4),
        "analyzer": AnalyzerConfig(width=8, levels=2, attention_levels=1, seal=7),
        "reply_min_psnr_db": 5.0,
        "reply_min_changed_share": 0.001,
        "reply_min_seal_share": 0.0,  # random weights seal nothing
    }
    return ModelConfig("micro", **(settings | changes))  # type: ignore[arg-type]


def micro_system(config: ModelConfig, seed: int = 0) -> System:
    """Random weights, exactly representable in float16; no zero heads, no fresh batch norm."""
    torch.manual_seed(seed)
    system = config.build()
    with torch.no_grad():
        for parameter in system.hider.parameters():
            nn.init.normal_(parameter, std=0.05)
        for module in system.analyzer.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
        for head in (*system.analyzer.heads.values(), *getattr(system.analyzer, "seals", {}).values()):
            nn.init.normal_(head.weight, std=0.3)
        for attention in system.analyzer.attention.values():
            for projection in getattr(attention, "out", {}).values():
                nn.init.normal_(projection.weight, std=0.3)
        for parameter in system.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half().float())
    return system.eval()
