"""The guide of an analyzer: plain networks that see the bare scan, and are asked together.

A few hundred scans can be learned by heart, by a plain network too. What several of them agree on, each trained from
another seed, is less of that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hidemia.training.plain import PlainNetwork, noisy

SHOWN = 2  # levels, the coarsest; an analyzer's finer ones are busy with reading what is hidden


class Guide(nn.Module):
    """Plain networks of one task, which learn nothing any more.

    Attributes:
        classes: how many they tell; None where their result is a mask.
        channels: of the levels that are shown, coarsest first, of all networks together.

    Raises:
        ValueError: there is none, or they tell different numbers of classes, or have different numbers of levels.
    """

    def __init__(self, networks: Sequence[PlainNetwork]) -> None:
        super().__init__()
        kinds = {(network.classes, len(network.channels)) for network in networks}
        if len(kinds) != 1:
            raise ValueError(f"guide: expected plain networks of one task and depth, got {len(kinds)} kinds")
        self.networks = nn.ModuleList(networks).requires_grad_(requires_grad=False)
        ((self.classes, depth),) = kinds
        shown = range(min(SHOWN, depth))
        self.channels = [sum(network.channels[level] for network in networks) for level in shown]

    @torch.no_grad()
    def forward(self, scans: Tensor) -> tuple[list[list[Tensor]], Tensor | None]:
        """Scans (B, 3, H, W) in [0, 1] -> features of the levels that are shown, and what the networks say.

        Features are by level, coarsest first, and network, each (B, C, h, w). What they say is the mean of their
        probabilities, (B, K), or None where that would be a mask. Each sees the scans under noise as it learned to,
        drawn anew.
        """
        seen: list[list[Tensor]] = [[] for _ in self.channels]
        answers = []
        for network in self.networks:
            levels = network.levels(noisy(scans, network.noise, torch.default_generator))
            for own, level in zip(seen, reversed(levels), strict=False):
                own.append(level.float())
            if self.classes is not None:
                answers.append(network.answer(levels).softmax(dim=1))
        return seen, torch.stack(answers).mean(dim=0) if answers else None
