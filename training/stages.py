"""The stages of training, as objectives: what each one computes from a batch and minimises.

The paper's Algorithm 1, which is in `hidemia.training.algorithm1`, trains the analyzer on a frozen hider first. Here
hider and analyzer learn together before that, so that the hider learns to hide what the analyzer can read. The order
is:

1. `Hide`      the hider alone, on crops.
2. `Read`      hider and analyzer; the analyzer's features are supervised directly, nothing is recovered yet.
3. `Joint`     hider and analyzer; the result travels back in the reply (Eq. 8, stage 3 of Algorithm 1).
4. `Answer`    the analyzer alone on the frozen hider, at full size (stage 1 of Algorithm 1).
5. `Seal`      the seal alone, on the finished analyzer.

A model that starts from another's weights has a hider that can be read already. It begins with `Look` in the place
of the first three, or with `Read` where the hider loses too much of its scans, and may come back to `Read` later.
`Follow` is a `Look` that is shown by plain networks what there is to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.algorithm1 import AnalyzeFrozen, DistillFeatures, DistillFunctions, FineTune
from hidemia.training.analyzer import Analyzer
from hidemia.training.channel import transmit
from hidemia.training.data import Batch
from hidemia.training.guide import Guide
from hidemia.training.losses import beyond, even_loss, excess_loss, mia_loss, percept_loss, ssim_loss, stray_loss
from hidemia.training.objective import Aids, Losses, Objective, StageConfig
from hidemia.training.roles import Features
from hidemia.training.seal import agreement, seal_loss
from hidemia.training.system import System, Trip
from hidemia.training.wavelet import dwt, split

SSIM_SHARE = 0.01  # of a pull: a hundredth of SSIM that is missing pulls as much as 1e-4 of squared distance


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
            **self._aided(features, batch.secrets, self._truth(batch)),
            "stego": held,
            "recover": self.config.recover_weight * F.mse_loss(recovered, batch.secrets),
        }


class Look(Objective):
    """The analyzer alone learns to read what a finished hider hides; nothing is recovered yet."""

    trains_hider = False

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule in this stage
        with torch.no_grad():
            stego, _ = self._hidden(batch)
        features = self.system.analyzer.features(split(dwt(stego)))
        return self._aided(features, batch.secrets, self._truth(batch))


class Follow(Look):
    """`Look`, with a guide: plain networks see the bare scan, and the coarsest features have to tell what theirs do.

    A class is one number a scan, and what a few hundred scans show can be learned by heart instead. What a guide sees
    of each view of them is thousands. Which class it takes the view for stands in the label's place, since it can be
    asked of two scans side by side as well; for masks the truth stays. Nothing of the guide is used afterwards.
    """

    guided = True

    def __init__(self, system: System, aids: Aids, config: StageConfig, teacher: nn.Module | None = None) -> None:
        super().__init__(system, aids, config)
        if not isinstance(teacher, Guide) or not isinstance(system.analyzer, Analyzer):
            got = f"{type(system.analyzer).__name__} and {type(teacher).__name__}"
            raise ValueError(f"follow: expected our Analyzer and a Guide, got {got}")
        self.guide = teacher
        pairs = zip(system.analyzer.channels, teacher.channels, strict=False)  # as many levels as both have
        self.told = nn.ModuleList(nn.Conv2d(own, theirs, 1) for own, theirs in pairs)

    def trained(self) -> list[tuple[list[nn.Module], float]]:
        """The analyzer, and the convolutions that tell the guide's features from its own."""
        return [*super().trained(), ([self.told], self.config.analyzer_rate)]

    def train(self, mode: bool = True) -> Follow:  # noqa: FBT001, FBT002 - as in torch
        """Training mode, but for the guide."""
        super().train(mode)
        self.guide.eval()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in torch
        """As in torch, but the guide stays the one that was named.

        Raises:
            ValueError: what is loaded has followed another.
        """
        for name, value in self.guide.state_dict().items():
            saved = state_dict.get(f"guide.{name}")
            if saved is None or not torch.equal(saved.to(value.device), value):
                raise ValueError("the guide, which --plain names")
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule in this stage
        with torch.no_grad():
            stego, _ = self._hidden(batch)
        seen, answer = self.guide(batch.secrets)
        features = self.system.analyzer.features(split(dwt(stego)))
        errors = []
        for tell, own, theirs in zip(self.told, reversed(features.levels), seen, strict=False):
            told = tell(torch.cat(list(own.values()), dim=1)).float()
            grid = (told.shape[2], told.shape[3])
            errors.append(F.mse_loss(told, torch.cat([_evened(part, grid) for part in theirs], dim=1)))
        truth = self._truth(batch) if answer is None else answer
        guide = self.config.guide_weight * torch.stack(errors).mean()
        return self._aided(features, batch.secrets, truth) | {"guide": guide}


def _evened(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, h, w) -> the same on a grid, with a standard deviation of 1: each network is told alike."""
    features = F.adaptive_avg_pool2d(features, grid)
    return features / features.std().clamp_min(1e-3)  # of this batch; nothing divides by what never varies


class Joint(Objective):
    """Everything together: the result is read from the reply."""

    veils = True

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
        reply = self.system.analyzer.reply(bands, features)
        trip = self.system.answer(sent, self.system.arrived(reply, sent))
        pull = self.config.reply_weight * min(1.0, 0.1 + done)
        if self.config.reach is None:
            far = beyond(percept_loss(trip.reply, covers), self.config.reply_limit)
        else:
            far = excess_loss(reply, sent, self.config.reach)
        losses = {
            "task": mia_loss(trip.logits[:count], self._asked(features, batch)),
            **self._aided(_first(features, count), batch.secrets, self._truth(batch)),
            "reply": pull * far,
        }
        if self.config.reply_ssim:
            losses["ssim"] = pull * SSIM_SHARE * beyond(ssim_loss(trip.reply, covers), 1 - self.config.reply_ssim)
        if self.config.seal_weight:
            hidden = torch.arange(len(sent), device=sent.device) < count
            agreed = agreement(trip.recovered, trip.reference, self.system.analyzer.signs)
            losses["seal"] = self.config.seal_weight * seal_loss(agreed, hidden)
        if self.config.stray_weight:
            losses["stray"] = self.config.stray_weight * stray_loss(trip.recovered)
        trip = Trip(*(value[:count] for value in vars(trip).values()))
        if self.config.even_weight:
            said = (trip.recovered - trip.reference).detach()  # what is said is asked for by the task alone
            losses["even"] = self.config.even_weight * even_loss(trip.reply - trip.stego, said)
        return trip, losses

    def _asked(self, features: Features, batch: Batch) -> Tensor:
        """What is to be read from replies: the truth, or what was judged where that stays as it is.

        From labels, what writes would learn how often each is right, and write that besides. What is judged is still
        asked for them, which a hider that learns along can change: otherwise nothing holds it to what judges.
        """
        if self.config.frozen_verdict and features.verdict is not None:
            return features.verdict[: len(batch.labels)].detach().softmax(dim=1)
        return self._truth(batch)


def _first(features: Features, count: int) -> Features:
    """Those of the first images of a batch."""
    verdict = None if features.verdict is None else features.verdict[:count]
    return Features({name: maps[:count] for name, maps in features.maps.items()}, verdict)


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


OBJECTIVES: dict[str, type[Objective]] = {
    "hide": Hide,
    "read": Read,
    "look": Look,
    "follow": Follow,
    "joint": Joint,
    "answer": Answer,
    "seal": Seal,
    "analyze_frozen": AnalyzeFrozen,
    "distill_functions": DistillFunctions,
    "distill_features": DistillFeatures,
    "fine_tune": FineTune,
}
