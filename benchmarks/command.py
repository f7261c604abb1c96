"""``hidemia evaluate``: the figures of a pair of bundles on a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import track

from hidemia.benchmarks.baselines import location_prior, nearest_thumbnails
from hidemia.benchmarks.compare import confidence, per_image, report
from hidemia.benchmarks.evaluate import figures, travel
from hidemia.benchmarks.metrics import dice
from hidemia.benchmarks.plain_network import beside
from hidemia.runtime import Client, Server
from hidemia.runtime.arguments import positive
from hidemia.runtime.manifest import Precision
from hidemia.training.data import read_scans
from hidemia.training.validation import balanced_accuracy


def evaluate(arguments: list[str]) -> int:
    """Measure a pair of bundles on a split of a data set."""
    parser = argparse.ArgumentParser(prog="hidemia evaluate", description=evaluate.__doc__)
    parser.add_argument("--client", type=Path, required=True, help="client bundle, such as OUT/client of an export")
    parser.add_argument("--server", type=Path, required=True, help="server bundle, such as OUT/server of an export")
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--covers", type=Path, required=True, help="any folder of photos")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--covers-per-image", type=positive, default=5, help="(default 5)")
    parser.add_argument("--precision", choices=get_args(Precision), help="of both bundles (default: their first)")
    parser.add_argument(
        "--plain", type=Path, metavar="WEIGHTS", help="a plain network to compare with, or the JSON of its figures"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args(arguments)
    client = Client.load(options.client, precision=options.precision)
    server = Server.load(options.server, precision=options.precision)
    console = Console(stderr=True)
    trips = travel(
        client,
        server,
        options.data,
        options.covers,
        options.split,
        options.covers_per_image,
        lambda rows: track(rows, "evaluating", console=console, disable=not console.is_terminal),
    )
    threshold = client.manifest.mask_threshold
    found = figures(trips, threshold) | trivial(options.data, options.split, client.manifest.task)
    own = per_image(trips, threshold, client.manifest.classes)
    if options.plain is not None:
        found |= beside(options.plain, own, client.manifest, options.data, options.split)
    report(found | confidence(own), own, options.json)
    return 0


def trivial(data: Path, split: str, task: str) -> dict[str, float]:
    """What needs no network, on the same split: location prior and nearest thumbnail, or the most frequent class."""
    segmentation = task == "segmentation"
    train, val, split_scans = (read_scans(data, name, segmentation) for name in ("train", "val", split))
    nearest = nearest_thumbnails(train, split_scans)
    if train.masks is None or split_scans.masks is None:
        majority = train.labels.bincount().argmax()
        return {
            "nearest_thumbnail": (train.labels[nearest] == split_scans.labels).double().mean().item(),
            "nearest_thumbnail_balanced": balanced_accuracy(train.labels[nearest], split_scans.labels),
            "majority": (split_scans.labels == majority).double().mean().item(),
        }
    prior = location_prior(train, val)
    truths = split_scans.masks[:, 0].numpy() > 127
    copies = train.masks[nearest, 0].numpy() > 127
    return {
        "location_prior": sum(dice(prior, truth) for truth in truths) / len(truths),
        "nearest_thumbnail": sum(dice(copy, truth) for copy, truth in zip(copies, truths, strict=True)) / len(truths),
    }
