"""Offsets: what is added to each class's logit, so that a verdict in doubt favours none. Set on the validation split.

A verdict learns how often training showed it each class, and may be less sure of one that it saw seldom. Offsets
make it even: those under which the validation split is most likely, each of its classes counting alike. They are one
number a class, kept only where they serve groups of scans that they were not fitted to.

What training logs on the way, and what plain networks' rates are chosen by, is without them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hidemia.training.analyzer import Analyzer
from hidemia.training.channel import transmit
from hidemia.training.data import Scans, scaled
from hidemia.training.system import System
from hidemia.training.validation import balanced_accuracy
from hidemia.training.wavelet import dwt, split

STEPS = 200  # more than such a fit takes: few numbers, one minimum
TRIPS = 300  # at least, to fit them to: a small split goes in several photos
USUAL = 4.0  # standard deviation of offsets that nothing is known of
SMALLEST = 0.001  # an offset that changes nothing


def fitted_offsets(logits: Tensor, labels: Tensor) -> Tensor:
    """Offsets of least cross entropy: logits (N, K) of scans, labels (N,) of all K classes -> (K,) float32, of mean 0.

    Each class weighs alike, however many logits it has. That offsets are small counts as much as one logit of the
    smallest class: one of which a verdict is wrongly sure must not decide.

    Raises:
        ValueError: a class is absent.
    """
    count = logits.shape[1]
    found = labels.bincount(minlength=count)
    if len(found) > count or not found.all():
        raise ValueError(f"labels: expected scans of all {count} classes, got {found.tolist()}")
    logits, weights = logits.double(), 1 / found.double()
    firmness = 1 / (2 * USUAL**2 * found.min().item())
    offsets = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    exact = {"tolerance_grad": 1e-9, "tolerance_change": 1e-12, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([offsets], max_iter=STEPS, **exact)

    def loss() -> float:
        optimizer.zero_grad()
        entropy = F.cross_entropy(logits + offsets, labels, weights) + firmness * offsets.square().sum()
        entropy.backward()
        return entropy.item()

    with torch.enable_grad():
        optimizer.step(loss)
    return offsets.detach().float()


def held_out(logits: Tensor, labels: Tensor, groups: NDArray[np.str_]) -> Tensor:
    """Logits with the offsets fitted to all other groups, as for scans that were never seen: (N, K) -> (N, K).

    A group without which a class would be missing keeps its logits as they are.
    """
    found = logits.clone()
    for group in np.unique(groups):
        own = torch.from_numpy(groups == group)
        if len(labels[~own].unique()) == logits.shape[1]:
            found[own] += fitted_offsets(logits[~own], labels[~own])
    return found


@torch.no_grad()
def add_offsets(judge: nn.Linear, logits: Tensor, scans: Scans) -> str:
    """Adds offsets to the bias of the layer that gave these logits, and returns what was done, in words.

    The logits (N * views, K) are those of every scan in one view or in several, one after another. None are added
    where those fitted to all other groups do not raise the balanced accuracy, nor where they would change nothing.
    """
    views = len(logits) // len(scans.labels)
    labels = scans.labels.repeat_interleave(views)
    groups = scans.groups or [str(number) for number in range(len(scans.labels))]
    unseen = held_out(logits, labels, np.repeat(groups, views))
    before, after = (balanced_accuracy(found.argmax(dim=1), labels) for found in (logits, unseen))
    gain = f"balanced accuracy on val {before:.3f}, with those fitted to all other groups {after:.3f}"
    offsets = fitted_offsets(logits, labels)
    if after <= before or offsets.abs().max() < SMALLEST:
        return f"offsets: none added; {gain}"
    judge.bias += offsets.to(judge.bias)
    added = ", ".join(f"{name} {offset:+.3f}" for name, offset in zip(scans.classes, offsets.tolist(), strict=True))
    return f"offsets: {added}; {gain}"


def judge_of(system: System) -> nn.Linear | None:
    """The layer that gives a system's verdict; None where its analyzer gives none."""
    verdict = system.analyzer.verdict if isinstance(system.analyzer, Analyzer) else None
    return None if verdict is None else verdict.linear


@torch.no_grad()
def verdicts(system: System, scans: Scans, covers: Tensor, size_px: int, views: int, batch: int = 16) -> Tensor:
    """The logits of every scan in so many photos, the next for each trip: (N * views, K), on the CPU.

    The analyzer must give a verdict.
    """
    system.eval()
    device, found = next(system.parameters()).device, []
    for trips in torch.arange(len(scans.images) * views).split(batch):
        secrets = scaled(scans.images[trips // views].to(device), size_px)
        stegos = transmit(system.hider.hide(secrets, scaled(covers[trips % len(covers)].to(device), size_px)))
        found.append(system.analyzer.features(split(dwt(stegos))).verdict.cpu())
    return torch.cat(found)


def set_offsets(system: System, scans: Scans, covers: Tensor, size_px: int) -> str | None:
    """`add_offsets` to a system's verdict, by its verdicts on a split; None where its analyzer gives none.

    Nothing is stored.
    """
    judge = judge_of(system)
    if judge is None:
        return None
    views = -(-TRIPS // len(scans.images))
    return add_offsets(judge, verdicts(system, scans, covers, size_px, views), scans)
