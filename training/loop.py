"""The loop every stage runs in: one step after the other, guarded, checkpointed, resumable.

A run is decided by its seed: batches depend on (seed, step) alone, so that killing it at any moment and running it
again with ``resume`` gives the loss curve of an undisturbed run.

Several processes, on one machine or more, run it as one: each takes its own share of a step's images, gradients are
averaged, and what decides how the run goes on (losses, rollbacks, checkpoints) is the same in all. The first of them
writes.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hidemia.training.data import Batch
from hidemia.training.errors import TrainingError
from hidemia.training.guard import CROSS_ENTROPY, DivergenceGuard
from hidemia.training.heads import ClassificationHead
from hidemia.training.modc import MoDC
from hidemia.training.stages import Objective

log = logging.getLogger("hidemia.training")

WARM_UP_STEPS = 100
EMA_DECAY = 0.998
ALL_EXPERTS = 0.1  # share of steps in which every difference convolution gets a gradient


@dataclass(frozen=True)
class Checkpoint:
    """Where a stage keeps its state, and how often it writes it."""

    path: Path
    every: int = 200


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, then a cosine down to 2 %: a factor on the peak rate."""
    warm = min(1.0, (step + 1) / min(WARM_UP_STEPS, max(1, steps // 10)))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def averaging(averaged: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
    """Exponential moving average that forgets its start.

    At 0.998 from the first step, a stage of a few hundred steps would be handed on with half of what it started from.
    """
    decay = min(EMA_DECAY, (1 + int(updates)) / (10 + int(updates)))
    get_ema_multi_avg_fn(decay)(averaged, current, updates)


class StageRun:
    """A stage on its way: the objective, its averaged system, the optimizer, and how far it is."""

    def __init__(self, objective: Objective, fabric: Fabric, seed: int) -> None:
        self.objective, self.fabric, self.seed = objective, fabric, seed
        system = objective.system
        system.to(memory_format=torch.channels_last)  # on a CPU: 0.43 s a step of skin's first stage, not 0.59
        for part in (system, objective.aids):
            part.requires_grad_(requires_grad=False)
        groups = []
        for parts, rate in objective.trained():
            for part in parts:
                part.requires_grad_(requires_grad=True)
            groups.append({"params": [p for part in parts for p in part.parameters()], "rate": rate})
        optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=1e-4)
        self.module, self.optimizer = fabric.setup(objective, optimizer)
        self.average = AveragedModel(system, multi_avg_fn=averaging, use_buffers=True)
        tells_classes = isinstance(system.head, ClassificationHead)
        self.guard = DivergenceGuard(plausible=CROSS_ENTROPY if tells_classes else 0.0)
        self.step, self.slower = 0, 1.0  # slower: halved by every rollback

    def state(self) -> dict[str, Any]:
        """All that decides how the run goes on, but the guard."""
        return {
            "step": self.step,
            "slower": self.slower,
            "objective": self.objective.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.step, self.slower = state["step"], state["slower"]
        self.objective.load_state_dict(state["objective"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def advance(self, batch_of: Callable[[int], Batch]) -> dict[str, Tensor] | None:
        """One step: its losses, or None when it exploded and the run went back to a good state."""
        due = self.step % self.guard.every == 0 or not self.guard.good  # none yet: just started, or resumed
        if due and not self.guard.returned:
            self.guard.keep(self.state())
        steps = self.objective.config.steps
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * self.slower * learning_rate(self.step, steps)
        choose_experts(self.objective, self.seed, self.step)
        torch.manual_seed(self.seed * 7919 + self.step)  # of dropout: a resumed run drops the same
        self.module.train()
        losses: dict[str, Tensor] = self.module(batch_of(self.step), self.step / steps)
        total = torch.stack(list(losses.values())).sum()
        loss = self._everywhere(total)
        if self.guard.exploded(loss) or not self._differentiate(total):
            log.warning("step %d: loss %.3g exploded, back to the last good state", self.step, loss)
            slower = self.slower * 0.5
            self.restore(self.guard.roll_back())
            self.slower = slower
            return None
        self.optimizer.step()
        self.average.update_parameters(self.objective.system)
        self.guard.accept(loss)
        self.step += 1
        self.guard.returned &= self.step % self.guard.every != 0
        return losses

    def _everywhere(self, value: Tensor) -> float:
        """The mean over all processes; not finite in one of them is not finite in all."""
        if self.fabric.world_size == 1:
            return value.item()
        return self.fabric.all_reduce(value.detach(), reduce_op="mean").item()

    def share(self) -> None:
        """Gives all processes the averaged system of the first: their batch norms have seen other images."""
        if self.fabric.world_size > 1:
            self.average.load_state_dict(self.fabric.broadcast(self.average.state_dict()))

    def _differentiate(self, total: Tensor) -> bool:
        """Clipped gradients; False when they are not finite, as they can be though the loss is."""
        self.optimizer.zero_grad()
        self.fabric.backward(total)
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=1.0, error_if_nonfinite=False)
        return bool(norm is not None and norm.isfinite())


def run_stage(
    objective: Objective,
    batch_of: Callable[[int], Batch],
    validate: Callable[[nn.Module], dict[str, float]],
    fabric: Fabric,
    checkpoint: Checkpoint,
    seed: int,
    validate_every: int = 400,
) -> nn.Module:
    """Train one stage to its end and return the system with averaged weights.

    ``batch_of(step)`` gives the batch of a step; ``validate(system)`` the figures of the averaged system. Progress
    goes to a terminal only; loss and figures go to the log and, as JSON lines, beside the checkpoint.
    """
    steps, name, first = objective.config.steps, checkpoint.path.stem, fabric.is_global_zero
    run = StageRun(objective, fabric, seed)
    saved = None
    if first and checkpoint.path.is_file():
        saved = torch.load(checkpoint.path, map_location=fabric.device, weights_only=True)
    saved = fabric.broadcast(saved)
    begun = {"seed": seed}
    if saved is not None:
        go_on(checkpoint.path, saved, begun, run.restore)
        run.guard.restore(saved["guard"])
        log.info("%s: resumed at step %d of %d", name, run.step, steps)
    curve = checkpoint.path.with_suffix(".jsonl")
    if first:
        _forget_after(curve, run.step)
    console = Console(stderr=True)
    with Progress(console=console, disable=not (first and console.is_terminal)) as progress:
        bar = progress.add_task(name, total=steps, completed=run.step)
        while run.step < steps:
            losses = run.advance(batch_of)
            if losses is None:
                continue
            progress.update(bar, completed=run.step)
            done = run.step == steps
            if done and not all(value.isfinite().all() for value in run.average.state_dict().values()):
                raise TrainingError(f"{name}: the last step diverged; resume with a lower learning rate")
            if not first:
                continue
            figures = validate(run.average.module) if run.step % validate_every == 0 or done else {}
            if run.step % 20 == 0 or done:
                _write(curve, run.step, losses, figures, run.guard.rollbacks)
            if run.step % checkpoint.every == 0 or done:
                save_atomically(run.state() | {"guard": run.guard.state(), "begun": begun}, checkpoint.path)
    run.share()
    choose_experts(objective, seed, None)
    return run.average.module


def go_on(
    path: Path, saved: dict[str, Any], begun: dict[str, float], restore: Callable[[dict[str, Any]], None]
) -> None:
    """Go on from what a checkpoint holds, whose run began with the same numbers.

    Raises:
        TrainingError: it began with others, or is of another recipe or version.
    """
    try:
        for name, value in begun.items():
            if saved["begun"][name] != value:
                raise TrainingError(
                    f"{path}: expected {name} {saved['begun'][name]:g}, as the run began, got {value:g}; give the same "
                    "or choose another --out"
                )
        restore(saved)
    except (KeyError, RuntimeError, ValueError) as error:
        line = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"{path}: expected a checkpoint of this recipe and version, got one that differs in {line}; choose another "
            "--out, or go on from finished weights with --start and --first-stage"
        ) from error


def choose_experts(objective: Objective, seed: int, step: int | None) -> None:
    """Now and then activate every expert: one outside the top k gets no gradient and would never come back."""
    drawn = step is not None and random.Random(seed * 7919 + step).random() < ALL_EXPERTS  # noqa: S311
    explore = drawn and objective.trains_analyzer
    for module in objective.system.analyzer.modules():
        if isinstance(module, MoDC) and module.k:
            module.active = len(module.candidates) if explore else module.k


def _forget_after(curve: Path, step: int) -> None:
    """Drop the rows of steps that will be run again."""
    if curve.is_file():
        rows = [row for row in curve.read_text().splitlines(keepends=True) if json.loads(row)["step"] <= step]
        curve.write_text("".join(rows))


def _write(curve: Path, step: int, losses: dict[str, Tensor], figures: dict[str, float], rollbacks: int) -> None:
    values = {name: round(value.item(), 6) for name, value in losses.items()}
    row = {"step": step, **values, **{name: round(value, 4) for name, value in figures.items()}}
    with curve.open("a") as file:
        file.write(json.dumps(row | {"rollbacks": rollbacks}) + "\n")
    log.info("%s", " ".join(f"{name} {value:.4g}" for name, value in row.items()))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write beside the file and rename: a power cut leaves the old checkpoint or the new one."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())  # else the new name could reach the disk before the bytes
    partial.replace(path)
