"""Offsets: what is added to each class's logit, so that a verdict in doubt favours none. Set on the validation split.

A verdict learns how often training showed each class, and is less sure of a class that was seen in few scans. Which
class it then names for what it has not seen is made up for here: by the offsets under which the validation split is
most likely, every class of it counting alike. They are one number a class, so little of val can be learned by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.training.analyzer import Analyzer
from hidemia.training.channel import transmit
from hidemia.training.data import Scans, scaled
from hidemia.training.model import ModelConfig
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, split
from hidemia.training.weights import save_weights

STEPS = 200  # a handful is enough: few numbers, one minimum


def even_offsets(logits: Tensor, labels: Tensor) -> Tensor:
    """Offsets of least cross entropy: logits (N, K) of scans, labels (N,), none absent -> (K,) float32, of mean 0.

    Each class weighs alike, however many scans it has. The minimum is one: what is minimised is convex.
    """
    logits, count = logits.double(), logits.shape[1]
    weights = labels.bincount(minlength=count).double().reciprocal()
    offsets = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([offsets], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        entropy = F.cross_entropy(logits + offsets, labels, weights)
        entropy.backward()
        return entropy.item()

    with torch.enable_grad():
        optimizer.step(loss)
    found = offsets.detach()
    return (found - found.mean()).float()


def held_out(logits: Tensor, labels: Tensor, groups: Sequence[str]) -> Tensor:
    """Logits with the offsets of all other groups, as for scans that were never seen: (N, K) -> (N, K).

    A group without which a class would be missing keeps its logits as they are.
    """
    names = np.asarray(groups)
    found = logits.clone()
    for name in np.unique(names):
        own = torch.from_numpy(names == name)
        if len(labels[~own].unique()) == len(labels.unique()):
            found[own] += even_offsets(logits[~own], labels[~own])
    return found


@torch.no_grad()
def verdicts(system: System, scans: Scans, covers: Tensor, size_px: int) -> Tensor | None:
    """What the analyzer takes every scan for, each in the next photo: (N, K). None where it gives no verdict."""
    system.eval()
    if not isinstance(system.analyzer, Analyzer) or system.analyzer.verdict is None:
        return None
    found = []
    for i in range(len(scans.images)):
        secret = scaled(scans.images[i : i + 1], size_px)
        stego = transmit(system.hider.hide(secret, scaled(covers[i % len(covers)][None], size_px)))
        found.append(system.analyzer.features(split(dwt(stego))).verdict)
    return torch.cat(found)


def set_offsets(system: System, model: ModelConfig, scans: Scans, covers: Tensor, folder: Path) -> Tensor | None:
    """Sets them in a system by its verdicts on a split, which are returned, and stores that in ``folder``.

    Nothing is done where it gives no verdict.
    """
    logits = verdicts(system, scans, covers, model.image_size_px)
    if logits is not None:
        even(system.analyzer.verdict.linear, logits, scans.labels)
        save_weights(system, model, folder, bits=8)
    return logits


@torch.no_grad()
def even(judge: nn.Linear, logits: Tensor, labels: Tensor) -> None:
    """Adds the offsets of the logits that a layer gave to its bias."""
    judge.bias += even_offsets(logits, labels).to(judge.bias)
