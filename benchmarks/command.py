"""``hidemia evaluate``: the figures of a pair of bundles on a data set."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.progress import track
from rich.table import Table

from hidemia.benchmarks.baselines import location_prior, nearest_thumbnails
from hidemia.benchmarks.evaluate import figures, travel
from hidemia.benchmarks.metrics import dice
from hidemia.runtime import Client, Server
from hidemia.runtime.manifest import Precision
from hidemia.training.data import read_scans


def evaluate(arguments: list[str]) -> int:
    """Measure a pair of bundles on a split of a data set."""
    parser = argparse.ArgumentParser(prog="hidemia evaluate", description=evaluate.__doc__)
    parser.add_argument("--client", type=Path, required=True, help="client bundle")
    parser.add_argument("--server", type=Path, required=True, help="server bundle")
    parser.add_argument("--data", type=Path, required=True, help="medical images: a folder with index.csv")
    parser.add_argument("--covers", type=Path, required=True, help="photos: a folder with index.csv")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--covers-per-image", type=int, default=5)
    parser.add_argument("--precision", choices=get_args(Precision), help="of both bundles (default: their first)")
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
    found = figures(trips, client.manifest.mask_threshold) | trivial(options.data, options.split, client.manifest.task)
    if options.json:
        partial = options.json.with_name(f".{options.json.name}.partial")
        partial.write_text(json.dumps(found, indent=2) + "\n")
        partial.replace(options.json)
    table = Table("figure", "value")
    for name, value in found.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console(file=sys.stdout).print(table)
    return 0


def trivial(data: Path, split: str, task: str) -> dict[str, float]:
    """What needs no network, on the same split: location prior and nearest thumbnail."""
    segmentation = task == "segmentation"
    train, val, split_scans = (read_scans(data, name, segmentation) for name in ("train", "val", split))
    nearest = nearest_thumbnails(train, split_scans)
    if train.masks is None or split_scans.masks is None:
        return {"nearest_thumbnail": (train.labels[nearest] == split_scans.labels).double().mean().item()}
    prior = location_prior(train, val)
    truths = split_scans.masks[:, 0].numpy() > 127
    copies = train.masks[nearest, 0].numpy() > 127
    return {
        "location_prior": sum(dice(prior, truth) for truth in truths) / len(truths),
        "nearest_thumbnail": sum(dice(copy, truth) for copy, truth in zip(copies, truths, strict=True)) / len(truths),
    }
