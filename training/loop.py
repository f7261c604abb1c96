"""The loop every stage runs in: one step after the other, guarded, checkpointed, resumable.

A run is decided by its seed: batches depend on (seed, step) alone, so that killing it at any moment and running it
again with ``resume`` gives the loss curve of an undisturbed run.
"""

from __future__ import annotations

import json
import logging
import math
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
from hidemia.training.guard import DivergenceGuard
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
    config = objective.config
    groups = [
        {"params": list(part.parameters()), "rate": rate}
        for part, rate, trains in (
            (objective.system.hider, config.hider_rate, objective.trains_hider),
            (nn.ModuleList([objective.system.analyzer, objective.system.head, objective.aids]),
             config.analyzer_rate, objective.trains_analyzer),
        )
        if trains
    ]  # fmt: skip
    objective.system.hider.requires_grad_(objective.trains_hider)
    objective.system.analyzer.requires_grad_(objective.trains_analyzer)
    optimizer = torch.optim.AdamW(groups, lr=1.0, weight_decay=1e-4)
    module, optimizer = fabric.setup(objective, optimizer)
    average = AveragedModel(objective.system, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    guard = DivergenceGuard()
    slower, step = 1.0, 0

    def state() -> dict[str, Any]:
        return {
            "step": step,
            "slower": slower,
            "objective": objective.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
        }

    def restore(saved: dict[str, Any]) -> int:
        objective.load_state_dict(saved["objective"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        return int(saved["step"])

    if checkpoint.path.is_file():
        saved = torch.load(checkpoint.path, weights_only=True)
        step, slower = restore(saved), saved["slower"]
        guard.restore(saved["guard"])
        log.info("%s: resumed at step %d of %d", checkpoint.path.stem, step, config.steps)
    curve = checkpoint.path.with_suffix(".jsonl")
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(checkpoint.path.stem, total=config.steps, completed=step)
        while step < config.steps:
            if step % guard.every == 0 and not guard.returned:
                guard.keep(state())
            for group in optimizer.param_groups:
                group["lr"] = group["rate"] * slower * learning_rate(step, config.steps)
            _choose_experts(objective, seed, step)
            module.train()
            losses = module(batch_of(step), step / config.steps)
            total = torch.stack(list(losses.values())).sum()
            if guard.exploded(total.item()):
                log.warning("step %d: loss %.3g exploded, back to the last good state", step, total.item())
                good = guard.roll_back()
                step, slower = restore(good), slower * 0.5
                continue
            optimizer.zero_grad()
            fabric.backward(total)
            fabric.clip_gradients(module, optimizer, max_norm=1.0)
            optimizer.step()
            average.update_parameters(objective.system)
            guard.accept(total.item())
            step += 1
            guard.returned &= step % guard.every != 0
            progress.update(bar, completed=step)
            done = step == config.steps
            figures = validate(average.module) if step % validate_every == 0 or done else {}
            if step % 20 == 0 or done:
                _write(curve, step, losses, figures, guard.rollbacks)
            if step % checkpoint.every == 0 or done:
                save_atomically(state() | {"guard": guard.state()}, checkpoint.path)
    _choose_experts(objective, seed, None)
    return average.module


def _choose_experts(objective: Objective, seed: int, step: int | None) -> None:
    """Now and then activate every expert: one outside the top k gets no gradient and would never come back."""
    explore = step is not None and random.Random(seed * 7919 + step).random() < ALL_EXPERTS  # noqa: S311
    for module in objective.system.analyzer.modules():
        if isinstance(module, MoDC) and module.k:
            module.active = len(module.candidates) if explore else module.k


def _write(curve: Path, step: int, losses: dict[str, Tensor], figures: dict[str, float], rollbacks: int) -> None:
    values = {name: round(value.item(), 6) for name, value in losses.items()}
    row = {"step": step, **values, **{name: round(value, 4) for name, value in figures.items()}}
    with curve.open("a") as file:
        file.write(json.dumps(row | {"rollbacks": rollbacks}) + "\n")
    log.info("%s", " ".join(f"{name} {value:.4g}" for name, value in row.items()))


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write beside the file and rename: a power cut leaves the old checkpoint or the new one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)
