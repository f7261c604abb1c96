"""Named recipes: what is trained, in which stages, for how long. `hidemia train busi` runs RECIPES["busi"]."""

from __future__ import annotations

from dataclasses import dataclass, field

from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.heads import ClassificationHead, SegmentationHead
from hidemia.training.invertible import InvertibleHider
from hidemia.training.stages import StageConfig
from hidemia.training.system import System


@dataclass(frozen=True)
class HiderConfig:
    """Settings of `InvertibleHider`; the defaults are LightIH's."""

    blocks: int = 4
    growth: int = 32
    slope: float = 0.2


@dataclass(frozen=True)
class ModelConfig:
    """What ``config.json`` beside the weights holds: all that is needed to build the networks and use them.

    Attributes:
        form, head: how the result is read from what is recovered, see `hidemia.training.heads`.
        mask_threshold, reply_min_psnr_db, reply_min_changed_share, reply_min_seal_share: set on the validation split
            after training, see `hidemia.training.thresholds`.
    """

    name: str
    task: str = "segmentation"
    classes: tuple[str, ...] = ("background", "lesion")
    image_size_px: int = 224
    form: str = "differential"
    head: str = "tiles"
    mask_threshold: float = 0.5
    reply_min_psnr_db: float = 30.0
    reply_min_changed_share: float = 0.01
    reply_min_seal_share: float | None = None
    licence: str = "Apache-2.0"
    intended_use: str = "Research on covert medical image analysis; not a medical device."
    hider: HiderConfig = field(default_factory=HiderConfig)
    analyzer: AnalyzerConfig = field(default_factory=AnalyzerConfig)

    def build(self) -> System:
        """Fresh networks."""
        head = (
            SegmentationHead(self.form)
            if self.task == "segmentation"
            else ClassificationHead(len(self.classes), self.head, self.form)
        )
        hider = InvertibleHider(self.hider.blocks, self.hider.growth, self.hider.slope)
        return System(hider, Analyzer(self.analyzer), head)


@dataclass(frozen=True)
class Recipe:
    """A model and the stages that train it."""

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    seed: int = 0


BUSI = Recipe(
    ModelConfig("busi", analyzer=AnalyzerConfig(seal=1)),
    (
        StageConfig("hide", steps=1500, batch=8, size_px=64, hider_rate=6e-4),
        StageConfig("read", steps=900, batch=8, size_px=96, hider_rate=1.5e-4, analyzer_rate=1e-3),
        StageConfig("joint", steps=1500, batch=8, size_px=96, hider_rate=1e-4, analyzer_rate=7e-4),
        StageConfig("answer", steps=420, batch=8, size_px=224, analyzer_rate=4e-4),
        StageConfig(
            "seal", steps=120, batch=3, size_px=224, analyzer_rate=1e-2, seal_weight=1.0, blank=2, frozen_norms=True
        ),
        StageConfig(
            "seal",
            steps=800,
            batch=4,
            size_px=224,
            analyzer_rate=1e-2,
            seal_weight=2.0,
            blank=1,
            frozen_norms=True,
            reply_limit=7e-5,
        ),
    ),
)

# As printed in section 4.1, with the parts a CPU can train. `project` diagonals, the differential head and the
# residual on all bands are ours; here they are the paper's.
PAPER = Recipe(
    ModelConfig(
        "paper",
        form="printed",
        hider=HiderConfig(slope=0.01),
        analyzer=AnalyzerConfig(width=64, levels=5, diagonals="literal5", scale="sqrt_n", residual="ll"),
    ),
    (
        StageConfig("hide", steps=20000, batch=8, size_px=224, hider_rate=1e-4),
        StageConfig(
            "answer", steps=20000, batch=8, size_px=224, analyzer_rate=5e-4, reply_limit=0.0, reply_weight=200.0,
            reconstruct_weight=0.0,
        ),
        StageConfig(
            "joint", steps=10000, batch=8, size_px=224, hider_rate=1e-5, analyzer_rate=1e-5, stego_weight=0.0,
            reply_limit=0.0, reply_weight=200.0, recover_weight=0.0, reconstruct_weight=0.0,
        ),
    ),
)  # fmt: skip

RECIPES = {"busi": BUSI, "paper": PAPER}
