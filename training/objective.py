"""What every stage of training has: its settings, and an objective that says what it minimises."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.analyzer import Analyzer
from hidemia.training.channel import Reach, transmit
from hidemia.training.data import Batch
from hidemia.training.heads import ClassificationHead
from hidemia.training.losses import beyond, mia_loss
from hidemia.training.roles import Features
from hidemia.training.system import System

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class StageConfig:
    """One stage of a recipe.

    Attributes:
        objective: a key of `hidemia.training.stages.OBJECTIVES`.
        steps, batch, size_px: length, images a step, side of the square images.
        hider_rate, analyzer_rate: peak learning rates.
        stego_limit, reply_limit: mean squared distances to the cover within which there is no pull
            (5e-5 is 43 dB, 1e-4 is 40 dB).
        reply_ssim: mean SSIM of the reply and the cover from which there is no pull; 0 never pulls. Noise costs most of
            it where a photo is flat.
        stego_weight, reply_weight: pull per unit beyond them (of SSIM a hundredth, `stages.SSIM_SHARE`); the reply's
            rises from a tenth to this.
        recover_weight: weight of the recovery of the secret, which keeps R an inverse of H.
        reconstruct_weight: weight of the auxiliary reconstruction at half size.
        seal_weight: weight of the seal, see `hidemia.training.seal`; 0 where the analyzer writes none.
        reach: how far a reply may differ from the stego, where it will travel under a veil. What reaches further is
            cut off, and pulled back; what is written in other colours is dropped; the distance to the cover pulls no
            more. None leaves replies as they are.
        even_weight: weight of `losses.even_loss`, by which a reply's change is as strong where nothing is said as where
            something is; 0 leaves it where it costs least.
        stray_weight: weight of `losses.stray_loss`, which keeps what R finds in a reply near a picture's range.
        guide_weight: weight of what plain networks see in the bare scan, for `follow`.
        pool: images that are hidden once, before the first step, where the hider is finished; 0 hides in every step.
            Stages of one size share them.
        exchanged: whether what is hidden lies on other photos of the pool in every step, see `hidemia.training.pool`.
        joined: whether every other image of a step is two of the pool, cut and put together; for masks, and for
            `follow`, whose guide can tell what is seen in them. Nothing is joined in batches of one.
        blank: photos of a batch in which nothing is hidden, so that the seal tells them apart.
        teacher: whether the stage's hider is the recipe's teacher, and not the student.
        distill_weights: alpha 1 to 3 of Eq. 7.
        mixed: how many of the three mixed networks of Eq. 7 a step runs, by turns when fewer than three: 78 passes
            through blocks become 50 or 26.
        frozen_verdict: whether what judges stays as it is, and only what writes learns, see `Analyzer.writers`; what is
            judged then has to be read, right or wrong.
        frozen_norms: whether batch norm keeps the statistics it has, for batches too small to have any of their own.
    """

    objective: str
    steps: int
    batch: int
    size_px: int
    hider_rate: float = 0.0
    analyzer_rate: float = 0.0
    stego_limit: float = 5e-5
    stego_weight: float = 2000.0
    reply_limit: float = 1e-4
    reply_ssim: float = 0.0
    reply_weight: float = 5000.0
    recover_weight: float = 1.0
    reconstruct_weight: float = 10.0
    seal_weight: float = 0.0
    reach: Reach | None = None
    even_weight: float = 0.0
    stray_weight: float = 0.0
    guide_weight: float = 1.0
    pool: int = 0
    exchanged: bool = False
    joined: bool = False
    blank: int = 0
    frozen_verdict: bool = False
    frozen_norms: bool = False
    teacher: bool = False
    distill_weights: tuple[float, float, float] = (800.0, 800.0, 4.0)
    mixed: int = 3


class Aids(nn.Module):
    """Heads on the analyzer's features that help it learn and are thrown away afterwards.

    ``reconstruct`` gives the secret at half size, a dense target that teaches the first layers to read what is
    hidden; ``direct`` gives the result without a trip back.
    """

    def __init__(self, width: int, classes: int | None) -> None:
        super().__init__()
        self.reconstruct = nn.Conv2d(4 * width, 3, 1)
        self.direct = nn.Conv2d(4 * width, classes or 1, 1)
        self.pooled = classes is not None

    def forward(self, features: Features) -> tuple[Tensor, Tensor]:
        """-> (reconstruction (B, 3, h, w), logits (B, 1, h, w) or (B, K): the verdict where one is given)."""
        stacked = torch.cat(list(features.maps.values()), dim=1)
        reconstruction = self.reconstruct(stacked).float()
        if features.verdict is not None:
            return reconstruction, features.verdict
        direct = self.direct(stacked).float()
        return reconstruction, direct.mean(dim=(2, 3)) if self.pooled else direct


class Objective(nn.Module):
    """What a stage minimises. Called with a batch and the share of the stage that is done, 0 to 1.

    A teacher, a hider or a guide, is for the stages that learn from one.
    """

    trains_hider = True
    trains_analyzer = True
    veils = False  # whether it can hold replies to the reach of a veil
    guided = False  # by plain networks

    def __init__(
        self,
        system: System,
        aids: Aids,
        config: StageConfig,
        teacher: nn.Module | None = None,  # noqa: ARG002 - for those that learn from one
    ) -> None:
        super().__init__()
        if config.pool and self.trains_hider:
            raise ValueError(f"pool: expected 0 for {config.objective!r}, whose hider learns, got {config.pool}")
        if config.frozen_verdict and not (isinstance(system.analyzer, Analyzer) and system.analyzer.verdict):
            raise ValueError("frozen_verdict: expected False for an analyzer that gives no verdict, got True")
        if config.exchanged and not config.pool:
            raise ValueError("exchanged: expected False without a pool of photos, got True")
        labelled = isinstance(system.head, ClassificationHead) and not self.guided
        if config.joined and (labelled or not config.pool):
            raise ValueError("joined: expected False without a pool, and where one label is the truth, got True")
        if config.reach is not None and (not self.veils or config.reply_ssim):
            raise ValueError(
                f"reach: expected None for {config.objective!r}, or where an SSIM of the reply is asked for, got "
                f"{config.reach}"
            )
        if config.reach is not None:
            config.reach.require()
        system.reach = config.reach  # the stage decides under which veil its replies travel
        self.system, self.aids, self.config = system, aids, config

    def trained(self) -> list[tuple[list[nn.Module], float]]:
        """What the stage trains, each with its peak rate."""
        analyzer: list[nn.Module] = [*self._learning(), self.system.head, self.aids]
        groups: list[tuple[list[nn.Module], float]] = []
        if self.trains_hider:
            groups.append(([self.system.hider], self.config.hider_rate))
        if self.trains_analyzer:
            groups.append((analyzer, self.config.analyzer_rate))
        return groups

    def _learning(self) -> list[nn.Module]:
        """The parts of the analyzer that learn."""
        analyzer = self.system.analyzer
        if not self.config.frozen_verdict:
            return [analyzer]
        assert isinstance(analyzer, Analyzer)  # noqa: S101 - others give no verdict
        return analyzer.writers()

    def train(self, mode: bool = True) -> Objective:  # noqa: FBT001, FBT002 - as in torch
        """Training mode, but for a hider that does not learn, and for batch norms where the stage freezes them."""
        super().train(mode)
        if not self.trains_hider:
            self.system.hider.eval()
        if self.config.frozen_norms:
            for module in self.system.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def _hidden(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The stego, and the pull that holds it to its cover."""
        stego = batch.stegos
        if stego is None:
            stego = transmit(self.system.hider.hide(batch.secrets, batch.covers))
        return stego, self.config.stego_weight * beyond(F.mse_loss(stego, batch.covers), self.config.stego_limit)

    def _truth(self, batch: Batch) -> Tensor:
        if isinstance(self.system.head, ClassificationHead):
            return batch.labels
        assert batch.masks is not None  # noqa: S101 - a segmentation recipe reads masks
        return batch.masks

    def _aided(self, features: Features, secrets: Tensor, truth: Tensor) -> Losses:
        """What features are asked for directly: the secrets at half size, and the truth as `mia_loss` takes it."""
        reconstruction, direct = self.aids(features)
        if truth.ndim == 4:
            truth = F.avg_pool2d(truth, 2)
        return {
            "direct": mia_loss(direct, truth),
            "reconstruct": self.config.reconstruct_weight * F.mse_loss(reconstruction, F.avg_pool2d(secrets, 2)),
        }
