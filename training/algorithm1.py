"""Algorithm 1 of the paper, stage by stage, with L_total of Eq. 8 and L_dist of Eq. 7.

=====  =======================  =========================  ====================================================
stage  objective                learns                     minimises
=====  =======================  =========================  ====================================================
1      `AnalyzeFrozen`          the analyzer               L_total, through the frozen teacher (HiNet)
2      `DistillFunctions`       the student (LightIH)      L_dist; teacher and analyzer are frozen
3      `FineTune`               analyzer and student       L_total
=====  =======================  =========================  ====================================================

`DistillFeatures` is what Table 7 compares stage 2 with. Before stage 1 the teacher learns to hide, with
`hidemia.training.stages.Hide`; the paper takes a trained one.

Eq. 7 asks that a network may be exchanged part by part. Teacher and student have four stages each; ``x_stego^ti``
passes the student's first i and the teacher's others. A mixed recovery does the same in the order in which its
stages are executed, which is the reverse, and reads the reply to its own ``x_stego^ti``. The lost latent is zero,
here as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.channel import transmit
from hidemia.training.data import Batch
from hidemia.training.invertible import InvertibleBlock, InvertibleHider, log_scale
from hidemia.training.losses import mia_loss, percept_loss
from hidemia.training.objective import Aids, Losses, Objective, StageConfig
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, iwt

STAGES = 4
COVER_WEIGHT = 30.0
State = tuple[Tensor, Tensor]  # bands of cover and secret on their way, each (B, 12, h, w)


def stages(hider: InvertibleHider) -> list[list[InvertibleBlock]]:
    """The four stages of a hider, in hiding order. Raises ValueError: its blocks cannot be divided by four."""
    blocks = hider.blocks()
    if not blocks or len(blocks) % STAGES:
        raise ValueError(f"blocks: expected a multiple of {STAGES} for distillation, got {len(blocks)}")
    size = len(blocks) // STAGES
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def through(blocks: list[InvertibleBlock], state: State) -> State:
    """Blocks, forward."""
    for block in blocks:
        state = block.hide(*state)
    return state


def stego_of(blocks: list[InvertibleBlock], state: State) -> Tensor:
    """The last blocks of a hider, forward: -> the stego (B, 3, H, W); what would be thrown away is not computed."""
    *inner, last = blocks
    cover, secret = through(inner, state)
    return iwt(cover + last.f(secret))


def mixed_stegos(
    student: InvertibleHider, teacher: InvertibleHider, secret: Tensor, cover: Tensor, chosen: tuple[int, ...]
) -> Iterator[tuple[int, Tensor]]:
    """x_stego^ti for each chosen i of 1 to 3, before the channel; then, as i = 4, the student's own."""
    *inner, last = stages(student)
    state = dwt(cover), dwt(secret)
    for i, stage in enumerate(inner, start=1):
        state = through(stage, state)
        if i in chosen:
            yield i, stego_of([block for rest in stages(teacher)[i:] for block in rest], state)
    yield STAGES, stego_of(last, state)


def mixed_recovery(student: InvertibleHider, teacher: InvertibleHider, photo: Tensor, i: int) -> Tensor:
    """R^ti: the first i stages to be executed are the student's, the others the teacher's; (B, 3, H, W) -> the same."""
    executed = stages(student)[::-1][:i] + stages(teacher)[::-1][i:]
    *inner, last = [block for stage in executed for block in reversed(stage)]
    cover, secret = dwt(photo), torch.zeros(())
    for block in inner:
        cover, secret = block.reveal(cover, secret.to(cover))
    return iwt((secret - last.y(cover)) * torch.exp(-log_scale(last.r(cover))))


class FineTune(Objective):
    """Stage 3: L_total = L_mia + beta_2 L_percept over the whole trip; beta_2 is ``reply_weight``.

    Nothing in it holds the stego to its cover. ``stego_weight`` can, and is 0 in the paper's recipe.
    """

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule
        stego, held = self._hidden(batch)
        return self._total(stego, batch) | {"stego": held}

    def _total(self, stego: Tensor, batch: Batch) -> Losses:
        trip = self.system.answer(stego, transmit(self.system.analyzer(stego)))
        return {
            "task": mia_loss(trip.logits, self._truth(batch)),
            "reply": self.config.reply_weight * percept_loss(trip.reply, batch.covers),
        }


class AnalyzeFrozen(FineTune):
    """Stage 1: the same, for the analyzer alone; the gradient passes through the frozen recovery."""

    trains_hider = False

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule
        with torch.no_grad():
            stego, _ = self._hidden(batch)
        return self._total(stego, batch)


class _Distill(Objective):
    """The student learns from a frozen teacher."""

    trains_analyzer = False

    def __init__(self, system: System, aids: Aids, config: StageConfig, teacher: nn.Module | None = None) -> None:
        super().__init__(system, aids, config)
        if not isinstance(teacher, InvertibleHider):
            raise ValueError(f"teacher: expected one for the stage {config.objective}, got none; name it in the recipe")
        self.teacher = teacher.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> _Distill:  # noqa: FBT001, FBT002 - as in torch
        """Training mode for the student; the frozen analyzer keeps the statistics of its batch norms."""
        super().train(mode)
        self.system.analyzer.eval()
        return self


class DistillFunctions(_Distill):
    """Stage 2, function-aligned: L_dist of Eq. 7."""

    def forward(self, batch: Batch, done: float) -> Losses:
        student, analyzer, truth = self.system.hider, self.system.analyzer, self._truth(batch)
        with torch.no_grad():
            target = transmit(self.teacher.hide(batch.secrets, batch.covers))
            target_reply = transmit(analyzer(target))
        chosen = self._chosen(done)
        hide, mia, recover = [], [], []
        for i, photo in mixed_stegos(student, self.teacher, batch.secrets, batch.covers, chosen):
            share = 1.0 if i == STAGES else (STAGES - 1) / len(chosen)
            stego = transmit(photo)
            reply = transmit(analyzer(stego))
            hide.append(share * F.mse_loss(stego, target))
            mia.append(share * F.mse_loss(reply, target_reply))
            recover.append(share * mia_loss(self._read(stego, reply, i), truth))
        terms = {"hide": hide, "mia": mia, "task": recover}
        weighted = zip(self.config.distill_weights, terms.items(), strict=True)
        return {name: alpha * torch.stack(values).sum() for alpha, (name, values) in weighted}

    def _chosen(self, done: float) -> tuple[int, ...]:
        """The mixed networks of this step: all three, or fewer by turns."""
        step = round(done * self.config.steps)
        return tuple(sorted(1 + (step + turn) % (STAGES - 1) for turn in range(self.config.mixed)))

    def _read(self, stego: Tensor, reply: Tensor, i: int) -> Tensor:
        """The head's logits from what R^ti finds; i = 4 is the student alone."""
        recovered = mixed_recovery(self.system.hider, self.teacher, reply, i)
        differs = self.system.head.form == "differential"  # the other forms do not look at the stego
        reference = mixed_recovery(self.system.hider, self.teacher, stego, i) if differs else recovered
        return self.system.head(recovered, reference)


class DistillFeatures(_Distill):
    """Stage 2, feature-aligned: the bands after each of the student's stages against the teacher's (Table 7).

    The cover's bands count `COVER_WEIGHT` times, which is ours: what is hidden in them is much weaker than the secret.
    """

    def forward(self, batch: Batch, done: float) -> Losses:  # noqa: ARG002 - no schedule
        own = theirs = dwt(batch.covers), dwt(batch.secrets)
        distances = []
        for stage, teacher_stage in zip(stages(self.system.hider), stages(self.teacher), strict=True):
            own = through(stage, own)
            with torch.no_grad():
                theirs = through(teacher_stage, theirs)
            distances.append(COVER_WEIGHT * F.mse_loss(own[0], theirs[0]) + F.mse_loss(own[1], theirs[1]))
        return {"features": self.config.distill_weights[0] * torch.stack(distances).sum()}
