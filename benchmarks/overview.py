"""All shipped models in one table, for the README; `hidemia.benchmarks.card` writes it."""

from __future__ import annotations

from collections.abc import Mapping

from hidemia.benchmarks.shipped import RESULTS, UNTRAINED, Figures, result
from hidemia.benchmarks.stories import STORIES
from hidemia.training.recipes import RECIPES

MARK = "<!-- models: python -m hidemia.benchmarks.card -->"


def overview(found: Mapping[str, Figures], costs: Mapping[str, Mapping[str, float]]) -> str:
    """Models by name as a Markdown table: their figures, and their costs of `hidemia.benchmarks.cells.cost`."""
    columns = (
        "model", "what it finds", "result", "plain network", "without a network", "stego", "reply",
        "GMACs: hide, analyze, recover",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name, figures in found.items():
        model = RECIPES[name].model
        key, word = RESULTS[model.task]
        cells = [
            f"[{name}](weights/{name}/MODEL_CARD.md)",
            STORIES[name].what.removesuffix(","),
            f"{word} {result(figures)}",
            f"{figures[f'plain_{key}']:.3f}" if f"plain_{key}" in figures else "-",
            f"{figures[UNTRAINED[model.task]]:.3f}",
            f"{figures['stego_psnr_db']:.1f} dB",
            f"{figures['reply_psnr_db']:.1f} dB",
            ", ".join(f"{costs[name][f'gmacs_{part}']:.1f}" for part in ("hide", "analyze", "recover")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
