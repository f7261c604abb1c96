"""The figures of a plain network, in the same way as those of a model: the same images, sizes, masks and metrics.

python -m hidemia.benchmarks.plain_network --weights runs/plain-busi/weights --data DIR [--split val] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from hidemia.benchmarks import metrics
from hidemia.benchmarks.compare import Scored, compared, confidence, per_image, read_figures, report
from hidemia.benchmarks.evaluate import Trips, load_photo, truth_label, truth_mask
from hidemia.runtime import photo
from hidemia.runtime.errors import DataError
from hidemia.runtime.manifest import Manifest
from hidemia.training.data import generator
from hidemia.training.errors import one_line
from hidemia.training.index import group_of, read_rows
from hidemia.training.plain import PlainConfig, load_plain, noisy

PROG = "python -m hidemia.benchmarks.plain_network"
FIGURES = ("dsc", "asd_px", "accuracy", "balanced_accuracy", "auc")
"""What `plain_figures` gives, of masks or of classes."""


@torch.no_grad()
def plain_travel(weights: Path, data: Path, split: str, noise: float | None = None) -> tuple[Trips, PlainConfig]:
    """What a plain network finds in every image of a split; nothing travels, so there is one column.

    The images have the noise that it was trained with, or another: standard deviation in grey levels of 255.

    Raises:
        TrainingError: the weights cannot be used, or there is no such split.
        DataError: an image or mask cannot be read, or a label is not one of the network's classes.
    """
    network, config = load_plain(weights)
    level = config.noise if noise is None else noise
    trips, draw = Trips(), generator(0, 0)
    for row in read_rows(data, split):
        image = photo.fit(load_photo(data / row["image"]), config.image_size_px)
        seen = noisy(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255, level, draw)
        found = network.probabilities(seen)[0].numpy()
        trips.images.append(row["image"])
        trips.groups.append(group_of(row))
        trips.probabilities.append([found])
        if config.threshold is None:
            trips.labels.append(truth_label(row, config.classes, data))
            continue
        trips.truths.append(truth_mask(data, row, config.image_size_px))
        trips.masks.append([found >= config.threshold])
    return trips, config


def plain_figures(trips: Trips, config: PlainConfig) -> dict[str, float]:
    """Dice and surface distance, or accuracy, balanced accuracy and AUC; ratios in 0..1."""
    if config.threshold is not None:
        pairs = [(mask, truth) for (mask,), truth in zip(trips.masks, trips.truths, strict=True)]
        return {
            "dsc": float(np.mean([metrics.dice(*pair) for pair in pairs])),
            "asd_px": float(np.mean([metrics.average_surface_distance_px(*pair) for pair in pairs])),
        }
    probabilities, labels = np.stack([found for (found,) in trips.probabilities]), np.array(trips.labels)
    measures = (metrics.accuracy, metrics.balanced_accuracy, metrics.auc)
    return {measure.__name__: measure(probabilities, labels) for measure in measures}


def beside(plain: Path, own: Scored, manifest: Manifest, data: Path, split: str) -> dict[str, float]:
    """The figures of a plain network, by names that begin with ``plain_``, and how far the system is from it.

    ``plain`` names its weights, or the JSON of what `plain_network` measured on the same split; where that has no score
    of any image, there is no distance.

    Raises:
        DataError: it has another task or, as weights, other classes; or it was measured on other images.
        TrainingError: its weights cannot be used.
    """
    if plain.is_file():
        measured = read_figures(plain)
        scored: Scored = measured["per_image"]
        asked = {"task": manifest.task, "split": split, "n_images": len(own)}
        for name, value in asked.items():
            if measured.get(name) != value:
                raise DataError(
                    f"{plain}: expected figures with {name} {value}, got {measured.get(name)}; write them with "
                    "`python -m hidemia.benchmarks.plain_network --json`, on this split"
                )
        found = {name: measured[name] for name in FIGURES if name in measured}
    else:
        trips, config = plain_travel(plain, data, split)
        if list(config.classes) != list(manifest.classes):
            raise DataError(
                f"{plain}: expected a plain network for {', '.join(manifest.classes)}, got one for "
                f"{', '.join(config.classes)}; pass the one trained for this task"
            )
        found = plain_figures(trips, config)
        scored = per_image(trips, config.threshold, config.classes)
    found = {f"plain_{name}": value for name, value in found.items()}
    return found | compared(own, scored) if scored else found


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Measure a plain network on a split of a data set."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the folder that `hidemia train plain-MODEL` wrote")
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--noise", type=float, metavar="LEVELS", help="on every image, of 255 (default: as trained)")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    if options.noise is not None and not 0 <= options.noise < 255:
        parser.error(f"--noise: expected 0 to 254, got {options.noise:g}")
    trips, config = plain_travel(options.weights, options.data, options.split, options.noise)
    found = {"task": config.task, "split": options.split, "n_images": len(trips.images), **plain_figures(trips, config)}
    images = per_image(trips, config.threshold, config.classes)
    report(found | confidence(images), images, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
