"""What was measured of the models in ``weights/``: the files that `hidemia evaluate --json` wrote beside them."""

from __future__ import annotations

import json
from pathlib import Path

from hidemia.benchmarks.stories import STORIES

Figures = dict[str, float | int | str]

RESULTS = {"segmentation": ("dsc", "Dice"), "classification": ("balanced_accuracy", "balanced accuracy")}
"""What a task is judged by: its key, and its name."""
UNTRAINED = {"segmentation": "location_prior", "classification": "nearest_thumbnail_balanced"}
"""The better of what needs no network, by task: its key."""
LOWERED = ("fp16", "int8")


def result(figures: Figures) -> str:
    """What a task is judged by, and in brackets its 95 % confidence interval, where the figures have it."""
    key, _ = RESULTS[str(figures["task"])]
    if "lower_95" not in figures:
        return f"{figures[key]:.3f}"
    return f"{figures[key]:.3f} ({figures['lower_95']:.2f} to {figures['upper_95']:.2f})"


def shipped(weights: Path) -> dict[str, Figures]:
    """The figures of every model that has a story and figures, by name."""
    files = {name: weights / name / "figures.json" for name in STORIES}
    return _read(files)


def lowered(model: Path) -> dict[str, Figures]:
    """The figures of a model in lower precisions, by precision, from the folder of its weights."""
    return _read({name: model / f"figures.{name}.json" for name in LOWERED})


def _read(files: dict[str, Path]) -> dict[str, Figures]:
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
