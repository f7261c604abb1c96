"""``hidemia figure 4``: the panel of Figure 4, from the cells of Table 1."""

from __future__ import annotations

import argparse
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.cells import Bench, TorchPair
from hidemia.benchmarks.evaluate import covers_of, load_photo, truth_mask
from hidemia.benchmarks.table_command import bench_of, bench_options, chosen_of, model_of
from hidemia.benchmarks.tables import TABLES
from hidemia.runtime import photo
from hidemia.runtime.arguments import positive
from hidemia.runtime.errors import DataError
from hidemia.training.index import photo_rows, read_rows
from hidemia.training.weights import load_weights

Image = NDArray[np.uint8]


def figure(arguments: list[str]) -> int:
    """Draw the panel: cover, secret and truth, then what each system finds and the reply that carried it."""
    parser = argparse.ArgumentParser(prog="hidemia figure", description=figure.__doc__)
    parser.add_argument("number", type=int, choices=[4])
    bench_options(parser)
    parser.add_argument("--images", type=positive, default=3, help="rows, evenly spread over the split (default 3)")
    options = parser.parse_args(arguments)
    bench = bench_of(parser, options)
    model = model_of(options.data)
    if model.task != "segmentation":
        raise DataError(f"{options.data}: expected masks for a panel of outlines, got classes; choose another data set")
    cells = chosen_of(parser, options, TABLES[1][0](model, bench.budget))
    for cell in cells.values():
        bench.fill(cell)
    image = panel(bench, [load_weights(bench.out / cell.name / "weights") for cell in cells.values()], options.images)
    target = bench.out / "figure4.png"
    target.write_bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())
    sys.stdout.write(f"{target}: cover, secret, truth, then {', '.join(cells)} (mask and reply)\n")
    return 0


def panel(bench: Bench, systems: list[tuple], images: int) -> Image:  # type: ignore[type-arg]
    """One row an image: cover, secret, truth, and mask and reply of every system; uint8 (H, W, 3)."""
    rows, photos = read_rows(bench.data, bench.split), photo_rows(bench.covers, bench.split)
    chosen = rows[:: max(1, len(rows) // images)][:images]
    lines = []
    for row in chosen:
        size = bench.budget.size_px
        secret = photo.fit(load_photo(bench.data / row["image"]), size)
        cover = photo.fit(load_photo(bench.covers / photos[covers_of(row["image"], len(photos), 1)[0]]["image"]), size)
        tiles = [cover, secret, _grey(truth_mask(bench.data, row, size))]
        for system, config in systems:
            pair = TorchPair(system, config)
            stego = pair.hide(secret, cover)
            reply = pair.analyze(stego)
            tiles += [_grey(pair.probability(reply, sent=stego) >= config.mask_threshold), reply]
        lines.append(np.concatenate([np.pad(tile, ((0, 2), (0, 2), (0, 0))) for tile in tiles], axis=1))
    return np.concatenate(lines)


def _grey(mask: NDArray[np.bool_]) -> Image:
    return np.repeat(mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
