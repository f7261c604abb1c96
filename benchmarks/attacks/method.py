"""How it was measured, in sentences that stand above the figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hidemia.benchmarks.attacks.budget import Budget
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.attacks.photos import Photos
from hidemia.benchmarks.attacks.sources import Sources
from hidemia.benchmarks.attacks.stranger import Trained
from hidemia.runtime import similarity


def sentences(
    settings: str,
    means: Means,
    sources: Mapping[str, Sources],
    photos: Mapping[str, Photos],
    budget: Budget,
    became: Mapping[str, Trained | None],
) -> list[str]:
    """All that a reader must know of how figures were taken.

    Args:
        settings: Precision and engine of the pair, in words.
        means: What the attacker has.
        sources: By split.
        photos: By split.
        budget: What it cost.
        became: How good each hider became that was trained here, or given as another training's; None where it was
            not reached.
    """
    test = zip(photos["test"].stegos[0], sources["test"].covers, strict=True)
    distance = np.mean([similarity.psnr(stego, cover) for stego, cover in test])
    size = sources["test"].covers.shape[1]
    covers = ", ".join(f"{split} {len(source.covers)}" for split, source in sources.items())
    stegos = ", ".join(f"{split} {source.picks.size:,}" for split, source in sources.items())
    return [
        f"Scans of {means.data.name} in photos of {means.covers.name}, {settings}.",
        f"Both classes are decoded, scaled to {size} px, written as PNG and read again.",
        f"A stego is {distance:.1f} dB from its cover.",
        f"Photos: {covers}; stegos, and as many replies: {stegos}.",
        "No photo and no scan lies in two splits; thresholds are chosen on val, and test is shown once.",
        f"Classical detector: {budget.learners} linear discriminants on 2,401 co-occurrence features.",
        f"Convolutional: a narrow XuNet, width {budget.width}, {budget.detector_steps} steps.",
        f"A step has {budget.detector_pairs} pairs of crops of {budget.crop_px} px; tested are whole photos.",
        f"Seeds: {budget.seeds}.",
        *_others(means, budget, {name: one for name, one in became.items() if one is not None}),
        f"Inversion networks: a U-Net, {budget.inversion_steps} steps of {budget.inversion_batch} crops.",
    ]


def _others(means: Means, budget: Budget, became: Mapping[str, Trained]) -> list[str]:
    if not became:
        return []
    of_another = "" if means.other is None else ", but for that of another training, which was given,"
    each = [
        f"{name}: stegos {one.stego_db:.1f} dB from their covers, opened by itself at {one.opened_db:.1f} dB"
        for name, one in became.items()
    ]
    trained = f"{budget.other_steps} steps of {budget.other_batch} crops of {budget.other_px} px"
    return [
        f"Other hiders{of_another} were trained here from random weights by the stage `hide` alone, {trained}.",
        f"What they became on val: {'; '.join(each)}.",
    ]
