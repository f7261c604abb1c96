"""The whole of Fig. 1(c): hider, analyzer and head, and the trip of a secret through them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hidemia.training.channel import transmit
from hidemia.training.heads import ClassificationHead, SegmentationHead
from hidemia.training.roles import AnyAnalyzer, AnyHider


@dataclass(frozen=True)
class Trip:
    """What one trip leaves behind.

    Photos (B, 3, H, W) as they are after the 8-bit channel; ``recovered`` and ``reference`` are R(reply) and
    R(stego); ``logits`` as the head gives them.
    """

    stego: Tensor
    reply: Tensor
    recovered: Tensor
    reference: Tensor
    logits: Tensor


class System(nn.Module):
    """H, M, R and the head of the task."""

    def __init__(self, hider: AnyHider, analyzer: AnyAnalyzer, head: SegmentationHead | ClassificationHead) -> None:
        super().__init__()
        self.hider, self.analyzer, self.head = hider, analyzer, head

    def forward(self, secret: Tensor, cover: Tensor) -> Trip:
        """x_stego = H(x_secret, x_cover), x_mia = M(x_stego), y = head(R(x_mia)); section 3.1 of the paper."""
        stego = transmit(self.hider.hide(secret, cover))
        return self.answer(stego, transmit(self.analyzer(stego)))

    def answer(self, stego: Tensor, reply: Tensor) -> Trip:
        """What the device reads from a reply to its stego."""
        recovered, reference = self.hider.recover(reply), self.hider.recover(stego)
        return Trip(stego, reply, recovered, reference, self.head(recovered, reference))
