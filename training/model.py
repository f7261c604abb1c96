"""A model: its networks, its task, and what a device needs to know of it; ``config.json`` beside its weights."""

from __future__ import annotations

from dataclasses import dataclass, field

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.channel import Colours, Reach
from hidemia.training.cmunext import CMUNeXtConfig
from hidemia.training.deepstega import DeepStegaConfig
from hidemia.training.heads import ClassificationHead, SegmentationHead
from hidemia.training.hidden import HiddenConfig
from hidemia.training.invertible import HiderConfig
from hidemia.training.system import System
from hidemia.training.transunet import TransUNetConfig
from hidemia.training.unet import UNetConfig
from hidemia.training.xnet import XNetConfig


@dataclass(frozen=True)
class ModelConfig:
    """What ``config.json`` beside the weights holds: all that is needed to build the networks and use them.

    Attributes:
        hider, analyzer: the networks and their settings; ``kind`` in the file names the network.
        form, head: how the result is read from what is recovered, see `hidemia.training.heads`.
        veil_reach: levels by which a reply may differ from the photo sent, and the size of the noise under which it
            travels, see `hidemia.runtime.veil`; None sends replies as they are, as in the paper.
        veil_colours: in which colours it may.
        mask_threshold, and all that begins with reply: set on the validation split after training, see
            `hidemia.training.thresholds`.
    """

    name: str
    task: str = "segmentation"
    classes: tuple[str, ...] = ("background", "lesion")
    image_size_px: int = 224
    form: str = "differential"
    head: str = "tiles"
    veil_reach: int | None = None
    veil_colours: Colours = "all"
    mask_threshold: float = 0.5
    reply_min_psnr_db: float = 30.0
    reply_min_changed_share: float = 0.01
    reply_max_low_change: float | None = None
    reply_min_seal_share: float | None = None
    reply_max_seal_strength: float | None = None
    licence: str = "Apache-2.0"
    intended_use: str = "Research on covert medical image analysis; not a medical device."
    hider: HiderConfig | DeepStegaConfig | HiddenConfig = field(default_factory=HiderConfig)
    analyzer: AnalyzerConfig | UNetConfig | TransUNetConfig | XNetConfig | CMUNeXtConfig = field(
        default_factory=AnalyzerConfig
    )

    @property
    def seal(self) -> int | None:
        """The seed of the seal; other papers' analyzers write none."""
        return self.analyzer.seal if isinstance(self.analyzer, AnalyzerConfig) else None

    @property
    def reach(self) -> Reach | None:
        """How far a reply may differ from the photo sent; None leaves replies as they are."""
        return None if self.veil_reach is None else Reach(self.veil_reach, self.veil_colours)

    def build(self) -> System:
        """Fresh networks.

        Raises:
            ValueError: a setting is not one of those that a network has, the analyzer writes another task's result, or
                no veil has such a reach.
        """
        if self.reach is not None:
            self.reach.require()
        judged = self.analyzer.classes if isinstance(self.analyzer, AnalyzerConfig) else None
        read = len(self.classes) if self.task == "classification" and self.head == "tiles" else None
        if judged not in (None, read):
            raise ValueError(f"analyzer.classes: expected {read}, as the head reads in tiles, or none, got {judged}")
        head = (
            SegmentationHead(self.form)
            if self.task == "segmentation"
            else ClassificationHead(len(self.classes), self.head, self.form)
        )
        return System(self.hider.build(), self.analyzer.build(self.image_size_px), head, self.reach)
