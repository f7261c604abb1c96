"""A verb as it was trained, between uint8 photos: what every exported graph, and every rival of it, is held against."""

from __future__ import annotations

from torch import Tensor, nn

from hidemia.export.graphs import pixels_in, pixels_out, within_reach
from hidemia.runtime.manifest import Verb
from hidemia.training.seal import agreement
from hidemia.training.system import System


class Trained(nn.Module):
    """The network as it was trained, not in its deployed form; the outputs of its graph, in their order.

    hide: secret, cover -> (stego,). analyze: stego -> (reply,). recover: reply, sent -> (probability,), and the seal
    where the analyzer writes one. Photos are uint8 (B, H, W, 3).
    """

    def __init__(self, system: System, verb: Verb) -> None:
        super().__init__()
        self.system, self.verb = system, verb

    def forward(self, *photos: Tensor) -> tuple[Tensor, ...]:
        first, *others = (pixels_in(photo) for photo in photos)
        system = self.system
        if self.verb == "hide":
            return (pixels_out(system.hider.hide(first, others[0])),)
        if self.verb == "analyze":
            return (pixels_out(within_reach(system.analyzer(first), first, system.reach)),)
        recovered, reference = system.hider.recover(first), system.hider.recover(others[0])
        probability = system.head.probabilities(recovered, reference)
        if system.analyzer.seal is None:
            return (probability,)
        return probability, agreement(recovered, reference, system.analyzer.signs)
