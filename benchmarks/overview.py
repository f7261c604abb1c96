"""All shipped models in one table, for the README; `hidemia.benchmarks.card` writes it."""

from __future__ import annotations

from collections.abc import Mapping

from hidemia.benchmarks.cells import cost
from hidemia.benchmarks.stories import STORIES
from hidemia.training.recipes import RECIPES

MARK = "<!-- models: python -m hidemia.benchmarks.card -->"
RESULTS = {"segmentation": ("dsc", "Dice"), "classification": ("balanced_accuracy", "balanced accuracy")}
"""What a task is judged by: its key, and its name."""
UNTRAINED = {"segmentation": "location_prior", "classification": "nearest_thumbnail_balanced"}
"""The better of what needs no network, by task: its key."""

Figures = dict[str, float | int | str]


def overview(found: Mapping[str, Figures]) -> str:
    """The figures of models by name, as a Markdown table; multiply-accumulates are of one pass at 224x224."""
    lines = [
        "| model | what it finds | result | without a network | stego | reply | GMACs: hide, analyze, recover |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in found.items():
        model = RECIPES[name].model
        price = cost(model.build().eval(), model)
        key, word = RESULTS[model.task]
        cells = [
            f"[{name}](weights/{name}/MODEL_CARD.md)",
            STORIES[name].what.removesuffix(","),
            f"{word} {figures[key]:.3f}",
            f"{figures[UNTRAINED[model.task]]:.3f}",
            f"{figures['stego_psnr_db']:.1f} dB",
            f"{figures['reply_psnr_db']:.1f} dB",
            ", ".join(f"{price[f'gmacs_{part}']:.1f}" for part in ("hide", "analyze", "recover")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
