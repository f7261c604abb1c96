"""The prior: what a verdict takes a scan for when it is in doubt, because training showed it more of one class.

The logarithm of each class's share in training is part of what a verdict says. Taken off, what is left names the class
whose images look most like the scan, however rare that is (logit adjustment, Menon et al., ICLR 2021). That is done
when training ends: what it logs on the way has the prior in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def shares(labels: Tensor, balanced: float) -> Tensor:
    """Of each class in batches of which a part is drawn class by class: (N,) int64 -> (K,), summing to 1.

    No class is without labels: no data set is read that has such a one.
    """
    counts = labels.bincount().double()
    return balanced / len(counts) + (1 - balanced) * counts / counts.sum()


@torch.no_grad()
def take_off_prior(judge: nn.Linear, labels: Tensor, balanced: float) -> None:
    """Changes the bias of a layer whose logits were learned from scans of these labels, drawn as in `shares`."""
    judge.bias -= shares(labels, balanced).log().to(judge.bias)
