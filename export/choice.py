"""Which groups of convolutions stay in FP32, so that the product keeps within the budget of INT8."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hidemia.export.calibration import Effect
from hidemia.export.effects import VERBS, Model
from hidemia.export.probes import Probes
from hidemia.export.trip import BUDGETS, Figures, known, losses, travel
from hidemia.export.variants import convolution_groups
from hidemia.runtime.manifest import Verb

MARGIN = 0.8  # share of the budget that the choice may use: other images are not these
STEP = 0.25  # share of a graph's noise that one step takes out
SPOILT_BY: dict[str, tuple[Verb, ...]] = {
    "stego_psnr_db": ("hide",),
    "reply_psnr_db": ("analyze", "hide"),
    "task": VERBS,
    "sealed": VERBS,
}


class Choice:
    """Which groups stay in FP32: from everything rounded, the noisiest are left out until the losses fit.

    Which graph they are taken from follows from the worst figure: of the graphs that can spoil it the one that costs
    most of it when it alone is rounded, with what was left out of it so far.

    The losses are those of the kind of trips that loses most, of real images or of simulated ones: a clone without
    images has its export checked with simulated ones.

    Attributes:
        full: the groups so far, by verb.
    """

    def __init__(self, model: Model, effects: Mapping[Verb, list[Effect]], *kinds: Probes) -> None:
        self.full: dict[Verb, list[str]] = {verb: [] for verb in VERBS}
        self._model, self._effects = model, effects
        self._kinds = [_referred(model, probes) for probes in kinds]

    def make(self) -> Iterator[str]:
        """Choose; yields a line for each step."""
        alone = {}
        for verb in VERBS:
            alone[verb] = self._losses(verb)
            trips = " and ".join(str(len(probes)) for probes, _ in self._kinds)
            yield f"{verb} alone in int8: {_shares(alone[verb])} of the budget on {trips} trips"
        while True:
            shares = self._losses(*VERBS)
            yield f"all in int8: {_shares(shares)} of the budget"
            worst = max(shares, key=lambda name: shares[name])
            open_to = [verb for verb in SPOILT_BY[worst] if self._left(verb)]
            if shares[worst] <= MARGIN or not open_to:
                return
            verb = max(open_to, key=lambda verb: alone[verb][worst])
            groups = self._noisiest(verb)
            self.full[verb] += groups
            alone[verb] = self._losses(verb)
            yield f"left in FP32 for {worst}: {', '.join(groups)} of {verb}, alone {alone[verb][worst]:+.2f} now"

    def _losses(self, *verbs: Verb) -> dict[str, float]:
        """Shares of the budget that are used when these graphs are rounded as far as is chosen, at worst."""
        rounded = {verb: self._model.rounded_everywhere(verb, self._convolutions(verb)) for verb in verbs}
        worst: dict[str, float] = {}
        for name, runs in self._model.everywhere.items():
            mine = runs | {verb: everywhere[name] for verb, everywhere in rounded.items()}
            for probes, reference in self._kinds:
                got, _ = travel(mine, probes, self._model.threshold)
                for figure, share in losses(reference[name], got, BUDGETS["int8"]).items():
                    worst[figure] = max(share, worst.get(figure, share))
        return worst

    def _convolutions(self, verb: Verb) -> set[str]:
        groups = convolution_groups(self._model.graphs[verb])
        return {name for group, names in groups.items() if group not in self.full[verb] for name in names}

    def _left(self, verb: Verb) -> list[Effect]:
        return [effect for effect in self._effects[verb] if effect.group not in self.full[verb]]

    def _noisiest(self, verb: Verb) -> list[str]:
        """The fewest groups that make a part of the noise which is left."""
        left = sorted(self._left(verb), key=lambda effect: -effect.noise)
        total, taken = sum(effect.noise for effect in left), 0.0
        groups: list[str] = []
        for effect in left:
            if taken >= STEP * total and groups:
                break
            taken += effect.noise
            groups.append(effect.group)
        return groups


def _referred(model: Model, probes: Probes) -> tuple[Probes, dict[str, Figures]]:
    """The trips, what must be found known of each, and their figures in FP32 by engine."""
    reference: dict[str, Figures] = {}
    for name, runs in model.everywhere.items():
        reference[name], found = travel(runs, probes, model.threshold)
        if runs is model.runs:
            probes = known(probes, found, model.threshold)
    return probes, reference


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:+.2f}" for name, share in shares.items())
