"""The stages of training, as objectives: what each one computes from a batch and minimises.

The paper's Algorithm 1 trains the analyzer on a frozen hider first. Here hider and analyzer learn together before
that, so that the hider learns to hide what the analyzer can read. The order is:

1. `Hide`      the hider alone, on crops.
2. `Read`      hider and analyzer; the analyzer's features are supervised directly, nothing is recovered yet.
3. `Joint`     hider and analyzer; the result travels back in the reply (Eq. 8, stage 3 of Algorithm 1).
4. `Answer`    the analyzer alone on the frozen hider, at full size (stage 1 of Algorithm 1).
5. `Seal`      the seal alone, on the finished analyzer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.channel import transmit
from hidemia.training.data import Batch
from hidemia.training.heads import ClassificationHead
from hidemia.training.losses import beyond, mia_loss, percept_loss
from hidemia.training.seal import agreement, seal_loss
from hidemia.training.system import System, Trip
from hidemia.training.wavelet import dwt, split

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class StageConfig:
    """One stage of a recipe.

    Attributes:
        objective: a key of `OBJECTIVES`.
        steps, batch, size_px: length, images a step, side of the square images.
        hider_rate, analyzer_rate: peak learning rates.
        stego_limit, reply_limit: mean squared distances to the cover within which there is no pull
            (5e-5 is 43 dB, 1e-4 is 40 dB).
        stego_weight, reply_weight: pull per unit beyond them; the reply's rises from a tenth to this.
        recover_weight: weight of the recovery of the secret, which keeps R an inverse of H.
        reconstruct_weight: weight of the auxiliary reconstruction at half size.
        seal_weight: weight of the seal, see `hidemia.training.seal`; 0 where the analyzer writes none.
        blank: photos of a batch in which nothing is hidden, so that the seal tells them apart.
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
    reply_weight: float = 5000.0
    recover_weight: float = 1.0
    reconstruct_weight: float = 10.0
    seal_weight: float = 0.0
    blank: int = 0
    frozen_norms: bool = False


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

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """-> (reconstruction (B, 3, h, w), logits (B, 1, h, w) or (B, K))."""
        stacked = torch.cat(list(features.values()), dim=1)
        direct = self.direct(stacked).float()
        return self.reconstruct(stacked).float(), direct.mean(dim=(2, 3)) if self.pooled else direct


class Objective(nn.Module):
    """What a stage minimises. Called with a batch and the share of the stage that is done, 0 to 1."""

    trains_hider = True
    trains_analyzer = True

    def __init__(self, system: System, aids: Aids, config: StageConfig) -> None:
        super().__init__()
        self.system, self.aids, self.config = system, aids, config

    def trained(self) -> list[tuple[list[nn.Module], float]]:
        """What the stage trains, each with its peak rate."""
        analyzer: list[nn.Module] = [self.system.analyzer, self.system.head, self.aids]
        groups: list[tuple[list[nn.Module], float]] = []
        if self.trains_hider:
            groups.append(([self.system.hider], self.config.hider_rate))
        if self.trains_analyzer:
            groups.append((analyzer, self.config.analyzer_rate))
        return groups

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
        stego = transmit(self.system.hider.hide(batch.secrets, batch.covers))
        return stego, self.config.stego_weight * beyond(F.mse_loss(stego, batch.covers), self.config.stego_limit)

    def _truth(self, batch: Batch) -> Tensor:
        if isinstance(self.system.head, ClassificationHead):
            return batch.labels
        assert batch.masks is not None  # noqa: S101 - a segmentation recipe reads masks
        return batch.masks

    def _aided(self, features: dict[str, Tensor], batch: Batch) -> Losses:
        reconstruction, direct = self.aids(features)
        truth = self._truth(batch)
        if truth.ndim == 4:
            truth = F.avg_pool2d(truth, 2)
        return {
            "direct": mia_loss(direct, truth),
            "reconstruct": self.config.reconstruct_weight * F.mse_loss(reconstruction, F.avg_pool2d(batch.secrets, 2)),
        }


class Hide(Objective):
    """The hider alone: imperceptible (also in ll, where it would show most) and recoverable."""

    trains_analyzer = False

    def forward(self, batch: Batch, done: float) -> Losses:
        stego = transmit(self.system.hider.hide(batch.secrets, batch.covers))
        low = F.mse_loss(split(dwt(stego))["ll"], split(dwt(batch.covers))["ll"])
        weight = 10.0 if done < 0.6 else 30.0
        return {
            "stego": weight * F.mse_loss(stego, batch.covers),
            "low": 10 * low,
            "recover": 3 * F.mse_loss(self.system.hider.recover(stego), batch.secrets),
        }


class Read(Objective):
    """Hider and analyzer: let H hide what M can read."""

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule in this stage
        stego, held = self._hidden(batch)
        features = self.system.analyzer.features(split(dwt(stego)))
        recovered = self.system.hider.recover(stego)
        return {
            **self._aided(features, batch),
            "stego": held,
            "recover": self.config.recover_weight * F.mse_loss(recovered, batch.secrets),
        }


class Joint(Objective):
    """Everything together: the result is read from the reply."""

    def forward(self, batch: Batch, done: float) -> Losses:
        stego, held = self._hidden(batch)
        trip, losses = self._answered(stego, batch, done)
        recovered = self.config.recover_weight * F.mse_loss(trip.reference, batch.secrets)
        return losses | {"stego": held, "recover": recovered}

    def _answered(self, stego: Tensor, batch: Batch, done: float) -> tuple[Trip, Losses]:
        """The trip of every secret, and what both `Joint` and `Answer` minimise of it."""
        count, blank = len(stego), self.config.blank
        sent = torch.cat([stego, batch.covers[:blank]])
        covers = torch.cat([batch.covers, batch.covers[:blank]])
        bands = split(dwt(sent))
        features = self.system.analyzer.features(bands)
        trip = self.system.answer(sent, transmit(self.system.analyzer.reply(bands, features)))
        pull = self.config.reply_weight * min(1.0, 0.1 + done)
        losses = {
            "task": mia_loss(trip.logits[:count], self._truth(batch)),
            **self._aided({name: feature[:count] for name, feature in features.items()}, batch),
            "reply": pull * beyond(percept_loss(trip.reply, covers), self.config.reply_limit),
        }
        if self.config.seal_weight:
            hidden = torch.arange(len(sent), device=sent.device) < count
            agreed = agreement(trip.recovered, trip.reference, self.system.analyzer.signs)
            losses["seal"] = self.config.seal_weight * seal_loss(agreed, hidden)
        return Trip(*(value[:count] for value in vars(trip).values())), losses


class Answer(Joint):
    """The analyzer alone; the hider and its recovery are frozen."""

    trains_hider = False

    def forward(self, batch: Batch, done: float) -> Losses:
        with torch.no_grad():
            stego, _ = self._hidden(batch)
        return self._answered(stego, batch, done)[1]


class Seal(Objective):
    """The seal, on an analyzer that is finished: no aids, and its U-Nets move a hundredth as fast as what writes it.

    On frozen U-Nets it cannot tell a photo that carries something from one that does not.
    """

    trains_hider = trains_analyzer = False

    def trained(self) -> list[tuple[list[nn.Module], float]]:
        """The convolutions that write the seal, and the U-Nets they read."""
        rate, analyzer = self.config.analyzer_rate, self.system.analyzer
        return [([analyzer.seals], rate), ([analyzer.unets, analyzer.heads], rate / 100)]

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule in this stage
        count = len(batch.covers)
        with torch.no_grad():
            stego, _ = self._hidden(batch)
            sent = torch.cat([stego, batch.covers[: self.config.blank]])
            bands = split(dwt(sent))
        features = self.system.analyzer.features(bands)
        trip = self.system.answer(sent, transmit(self.system.analyzer.reply(bands, features)))
        covers = torch.cat([batch.covers, batch.covers[: self.config.blank]])
        agreed = agreement(trip.recovered, trip.reference, self.system.analyzer.signs)
        hidden = torch.arange(len(sent), device=sent.device) < count
        return {
            "task": mia_loss(trip.logits[:count], self._truth(batch)),
            "reply": self.config.reply_weight * beyond(percept_loss(trip.reply, covers), self.config.reply_limit),
            "seal": self.config.seal_weight * seal_loss(agreed, hidden),
        }


OBJECTIVES: dict[str, type[Objective]] = {"hide": Hide, "read": Read, "joint": Joint, "answer": Answer, "seal": Seal}
