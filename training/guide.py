"""The guide of an analyzer: plain networks that see the bare scan, and are asked together.

A few hundred scans can be learned by heart, by a plain network too. What several of them agree on, each trained from
another seed, is less of that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hidemia.training.plain import PlainNetwork, noisy


class Guide(nn.Module):
    """Plain networks of one task, which learn nothing any more.

    Attributes:
        classes: how many they tell; None where their result is a mask.
        deepest: channels of the coarsest level of each.

    Raises:
        ValueError: there is none, or they tell different things.
    """

    def __init__(self, networks: Sequence[PlainNetwork]) -> None:
        super().__init__()
        told = {network.classes for network in networks}
        if len(told) != 1:
            raise ValueError(f"guide: expected plain networks of one task, got {len(networks)} of {len(told)}")
        self.networks = nn.ModuleList(networks).requires_grad_(requires_grad=False)
        (self.classes,) = told
        self.deepest = [network.deepest for network in networks]

    @torch.no_grad()
    def forward(self, scans: Tensor) -> tuple[list[Tensor], Tensor]:
        """Scans (B, 3, H, W) in [0, 1] -> each network's deepest features (B, C, h, w), and the mean of what they say.

        That is probabilities, (B, K) or (B, 1, H, W). Each sees the scans under noise as it learned to, drawn anew.
        """
        features, answers = [], []
        for network in self.networks:
            levels = network.levels(noisy(scans, network.noise, torch.default_generator))
            answer = network.answer(levels)
            features.append(levels[-1].float())
            answers.append(answer.sigmoid() if self.classes is None else answer.softmax(dim=1))
        return features, torch.stack(answers).mean(dim=0)
