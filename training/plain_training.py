"""Trains the plain network: learning rates, each until the validation split no longer gains; the best goes on.

The rates are tried on small images. The best goes on at full size with a third of its rate, until the same plateau.
"""

from __future__ import annotations

import copy
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from hidemia.training.data import Scans, generator, scaled, scan_batch
from hidemia.training.loop import averaging, go_on, save_atomically
from hidemia.training.losses import mia_loss
from hidemia.training.offsets import add_offsets
from hidemia.training.plain import PlainConfig, noisy, save_plain
from hidemia.training.recipe import Recipe
from hidemia.training.roles import AnyPlain
from hidemia.training.thresholds import CANDIDATES
from hidemia.training.validation import balanced_accuracy, dice

log = logging.getLogger("hidemia.training")


@dataclass(frozen=True)
class PlainPlan:
    """How a plain network is trained.

    Attributes:
        rates: learning rates that are tried.
        trial_px: side of the images on which they are tried.
        batch: images a step.
        every: most steps between two looks at the validation split; an epoch where that is less.
        patience: looks without a gain after which the rate falls to a fifth; after ``falls`` of those it ends.
        full_patience: the same at full size, where a network is slower to settle.
        looks: most looks of one training.
    """

    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    trial_px: int = 128
    batch: int = 16
    every: int = 100
    patience: int = 5
    full_patience: int = 10
    falls: int = 1
    looks: int = 80


PLAN = PlainPlan()
GAIN = 1e-4  # what counts as one
NUMBERS = ("rate", "step", "look", "stale", "falls", "best")  # of a run, by which it goes on


class PlainRun:
    """One training, at one rate and one size, until its plateau.

    What is judged and kept is the average of the last steps, as in our own stages: from one step to the next a network
    of a few hundred scans gains and loses more on others than it learns, and the best of many looks is a lucky one.
    """

    def __init__(self, network: AnyPlain, rate: float, fabric: Fabric) -> None:
        network.to(memory_format=torch.channels_last)  # on a CPU: 1.5 s a step of plain-kvasir, not 2.0
        self.raw, self.fabric, self.rate = network, fabric, rate
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.average = AveragedModel(network, multi_avg_fn=averaging, use_buffers=True)
        self.step = self.look = self.stale = self.falls = 0
        self.best, self.best_weights = -1.0, copy.deepcopy(network.state_dict())

    def state(self) -> dict[str, Any]:
        """All that decides how the run goes on."""
        return {name: getattr(self, name) for name in NUMBERS} | {
            "best_weights": self.best_weights,
            "network": self.raw.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self.raw.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in (*NUMBERS, "best_weights"):
            setattr(self, name, state[name])

    def learn(self, images: Tensor, truth: Tensor) -> None:
        """One step."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        loss = mia_loss(self.network(images), truth)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.network, self.optimizer, max_norm=1.0, error_if_nonfinite=False)
        self.optimizer.step()
        self.average.update_parameters(self.raw)
        self.step += 1

    def judge(self, figure: float, patience: int) -> None:
        """Take in a look at the validation split; a rate that gains nothing any more falls, from the best so far."""
        self.look += 1
        if figure > self.best + GAIN:
            self.best, self.stale = figure, 0
            self.best_weights = copy.deepcopy(self.average.module.state_dict())
            return
        self.stale += 1
        if self.stale == patience:
            self.rate, self.falls, self.stale = self.rate / 5, self.falls + 1, 0
            self.raw.load_state_dict(self.best_weights)
            self.average.n_averaged.zero_()  # the next step begins a new one


def until_plateau(
    run: PlainRun, train: Scans, val: Scans, size_px: int, plan: PlainPlan, recipe: Recipe, checkpoint: Path
) -> PlainRun:
    """Train to the end of a plan, going on where the checkpoint is; the network ends with its best weights."""
    begun = {"seed": recipe.seed, "rate": run.rate, "noise": run.raw.noise}
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=run.fabric.device, weights_only=True)
        go_on(checkpoint, saved, begun, run.restore)
    every = max(1, min(plan.every, len(train.images) // plan.batch))
    while run.falls <= plan.falls and run.look < plan.looks:
        for _ in range(every):
            draw = generator(recipe.seed, run.step)
            drawn = (train, size_px, plan.batch, recipe.seed, run.step, draw)
            secrets, masks, labels = scan_batch(*drawn, balanced=recipe.balanced, upright=recipe.upright)
            truth = labels if masks is None else masks
            secrets = noisy(secrets, run.raw.noise, draw)
            run.learn(*run.fabric.to_device((secrets, truth)))
        figure = figure_of(run.average.module, val, size_px)
        run.judge(figure, plan.patience)
        log.info("%s: step %d val %.4f best %.4f rate %.2g", checkpoint.stem, run.step, figure, run.best, run.rate)
        save_atomically(run.state() | {"begun": begun}, checkpoint)
    run.raw.load_state_dict(run.best_weights)
    return run


@torch.no_grad()
def predictions(network: AnyPlain, scans: Scans, size_px: int, batch: int = 16) -> Tensor:
    """Probabilities for every image of a split, on the CPU: (N, s, s) or (N, K).

    The images are under the noise that the network learned under, the same in every call.
    """
    device, training = next(network.parameters()).device, network.training
    network.eval()
    draw = generator(0, 0)
    images = (noisy(scaled(part.to(device), size_px), network.noise, draw) for part in scans.images.split(batch))
    parts = [network.probabilities(part).cpu() for part in images]
    network.train(training)
    return torch.cat(parts)


def figure_of(network: AnyPlain, scans: Scans, size_px: int) -> float:
    """What the best weights are chosen by: mean Dice at 0.5, or balanced accuracy."""
    found = predictions(network, scans, size_px)
    if scans.masks is None:
        return balanced_accuracy(found.argmax(dim=1), scans.labels)
    return dice(found > 0.5, scaled(scans.masks, size_px)[:, 0] > 0.5).mean().item()


def with_threshold(network: AnyPlain, config: PlainConfig, val: Scans) -> PlainConfig:
    """The configuration with the mask's threshold of best mean Dice on the validation split."""
    if val.masks is None:
        return config
    found = predictions(network, val, config.image_size_px)
    truth = scaled(val.masks, config.image_size_px)[:, 0] > 0.5
    overlaps = torch.stack([dice(found >= limit, truth).mean() for limit in CANDIDATES])
    return dataclasses.replace(config, mask_threshold=round(CANDIDATES[overlaps.argmax()].item(), 3))


def train_plain(
    config: PlainConfig,
    recipe: Recipe,
    scans: tuple[Scans, Scans],
    out: Path,
    fabric: Fabric,
    plan: PlainPlan = PLAN,
) -> tuple[AnyPlain, PlainConfig]:
    """A plain network for a recipe, from its training and validation scans; writes ``out/weights``."""
    out.mkdir(parents=True, exist_ok=True)
    tried = []
    for number, rate in enumerate(plan.rates, start=1):
        torch.manual_seed(recipe.seed)
        run = PlainRun(config.build(), rate, fabric)
        name = out / f"{number}-rate-{rate:g}.pt"
        tried.append((until_plateau(run, *scans, plan.trial_px, plan, recipe, name), rate))
    best, rate = max(tried, key=lambda pair: pair[0].best)
    log.info("rate %g is the best of %s", rate, ", ".join(f"{r:g} ({run.best:.4f})" for run, r in tried))
    final = PlainRun(best.raw, rate / 3, fabric)
    size_px, name = config.image_size_px, out / f"{len(plan.rates) + 1}-full.pt"
    until_plateau(final, *scans, size_px, dataclasses.replace(plan, patience=plan.full_patience), recipe, name)
    network = final.raw.cpu()
    if network.classes is not None:
        (judge,) = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
        tiny = torch.finfo(torch.float32).tiny
        logits = predictions(network, scans[1], size_px).clamp_min(tiny).log()
        log.info("%s", add_offsets(judge, logits, scans[1]))
    config = with_threshold(network, dataclasses.replace(config, rate=rate), scans[1])
    save_plain(network, config, out / "weights")
    return network.eval(), config
