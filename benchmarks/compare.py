"""Two systems on the same images, and one system over several seeds.

    python -m hidemia.benchmarks.compare RUN.json RUN.json ... [--plain PLAIN.json PLAIN.json ...] [--json FILE]

Reads what `hidemia evaluate --json` and `python -m hidemia.benchmarks.plain_network --json` wrote, one file a seed.
Images are compared in pairs: what varies is which images a hospital happens to send.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hidemia.benchmarks.bootstrap import interval, lower_bound, mean_of, resampled
from hidemia.benchmarks.evaluate import Trips, scores
from hidemia.runtime.errors import DataError
from hidemia.training.errors import one_line
from hidemia.training.index import group_of

Scored = list[dict[str, Any]]
"""One for each image: its name, group and score, and its label where that decides how scores are averaged."""
PROG = "python -m hidemia.benchmarks.compare"


def per_image(trips: Trips, threshold: float | None, classes: Sequence[str]) -> Scored:
    """What each image scored, and its group: Dice, or the share of right answers with the image's class."""
    found: Scored = [
        {"image": name, "group": group, "score": score}
        for name, group, score in zip(trips.images, trips.groups, scores(trips, threshold), strict=True)
    ]
    if threshold is not None:
        return found
    return [row | {"label": classes[label]} for row, label in zip(found, trips.labels, strict=True)]


def _drawn_by(images: Scored) -> tuple[list[str], list[str]]:
    """Strata and groups of images, as `resampled` takes them."""
    return [row.get("label", "") for row in images], [group_of(row) for row in images]


def confidence(images: Scored) -> dict[str, float]:
    """The 95 % confidence interval of the mean score, and how many groups it is drawn from, see `resampled`.

    Of the mean Dice, or the balanced accuracy where images have labels.
    """
    strata, groups = _drawn_by(images)
    low, high = interval(resampled(np.array([row["score"] for row in images]), strata, groups))
    return {"n_groups": len(set(zip(strata, groups, strict=True))), "lower_95": low, "upper_95": high}


def compared(ours: Scored, plain: Scored) -> dict[str, float]:
    """How far a system is from the plain network: ``over_plain`` and its lower 95 % bound, in 0..1.

    Dice, or balanced accuracy where images have labels.

    Raises:
        DataError: they were not measured on the same images.
    """
    _check_same(ours, plain)
    difference = np.array([a["score"] - b["score"] for a, b in zip(ours, plain, strict=True)])
    strata, groups = _drawn_by(ours)
    samples = resampled(difference, strata, groups)
    return {"over_plain": mean_of(difference, strata), "over_plain_lower_95": lower_bound(samples)}


def _check_same(ours: Scored, others: Scored) -> None:
    if [row["image"] for row in ours] != [row["image"] for row in others]:
        raise DataError(
            f"figures: expected the same images in the same order, got {len(others)} beside {len(ours)}; "
            "evaluate both on one split of one data set"
        )


def averaged(runs: list[Scored]) -> Scored:
    """The scores of several seeds, averaged image by image. Raises DataError: they differ in their images."""
    first = runs[0]
    for run in runs[1:]:
        _check_same(first, run)
    return [row | {"score": float(np.mean([run[i]["score"] for run in runs]))} for i, row in enumerate(first)]


def spread(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, standard deviation (of the sample), least and most of every figure that all seeds have.

    Of bounds, whose names end in ``_95``, there is no mean.
    """
    found: dict[str, Any] = {"seeds": len(runs)}
    for name, value in runs[0].items():
        if name.endswith("_95"):
            continue
        if isinstance(value, float) and all(isinstance(run.get(name), (int, float)) for run in runs):
            values = [float(run[name]) for run in runs]
            found[name] = float(np.mean(values))
            found[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            found[f"{name}_least"], found[f"{name}_most"] = min(values), max(values)
    return found


def report(found: dict[str, Any], images: Scored | None, path: Path | None) -> None:
    """Print figures as a table; write them, with the score of every image, as JSON."""
    if path is not None:
        whole = found if images is None else found | {"per_image": images}
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(whole, indent=2) + "\n")
        partial.replace(path)
    table = Table("figure", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console(file=sys.stdout).print(table)


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Figures over several seeds, and their distance from the plain network."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="figures of one model, a file a seed")
    parser.add_argument("--plain", type=Path, nargs="+", default=[], help="figures of its plain network, a file a seed")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    runs = [read_figures(path) for path in options.runs]
    ours = averaged([run["per_image"] for run in runs])
    found = spread(runs) | confidence(ours)
    if options.plain:
        found |= compared(ours, averaged([read_figures(path)["per_image"] for path in options.plain]))
    report(found, ours, options.json)
    return 0


def read_figures(path: Path) -> dict[str, Any]:
    """What `report` wrote. Raises DataError: there is no such file, or it has no scores."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected figures as JSON, got {error}; write them with --json") from error
    if not isinstance(found, dict) or "per_image" not in found:
        raise DataError(f"{path}: expected figures with per_image, got none; evaluate again with --json")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
