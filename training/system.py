"""The whole of Fig. 1(c): hider, analyzer and head, and the trip of a secret through them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hidemia.training.channel import Reach, held, transmit
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
    """H, M, R and the head of the task. ``reach`` is that of the veil under which replies travel; None has none."""

    def __init__(
        self,
        hider: AnyHider,
        analyzer: AnyAnalyzer,
        head: SegmentationHead | ClassificationHead,
        reach: Reach | None = None,
    ) -> None:
        super().__init__()
        self.hider, self.analyzer, self.head, self.reach = hider, analyzer, head, reach

    def forward(self, secret: Tensor, cover: Tensor) -> Trip:
        """x_stego = H(x_secret, x_cover), x_mia = M(x_stego), y = head(R(x_mia)); section 3.1 of the paper."""
        stego = transmit(self.hider.hide(secret, cover))
        return self.answer(stego, self.arrived(self.analyzer(stego), stego))

    def arrived(self, reply: Tensor, stego: Tensor) -> Tensor:
        """A reply as the device has it, its veil taken off: 8 bits a colour, and held to the veil's reach.

        Both (B, 3, H, W): what the analyzer made, and the stego as it was received. The veil itself is exact
        arithmetic on whole levels (`hidemia.runtime.veil`), so nothing of it is left to learn.
        """
        return transmit(reply if self.reach is None else held(reply, stego, self.reach))

    def answer(self, stego: Tensor, reply: Tensor) -> Trip:
        """What the device reads from a reply to its stego."""
        recovered, reference = self.hider.recover(reply), self.hider.recover(stego)
        return Trip(stego, reply, recovered, reference, self.head(recovered, reference))
