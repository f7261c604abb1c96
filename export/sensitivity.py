"""Which convolutions may be rounded to 8 bits: decided by what it costs the product, on images.

``python -m hidemia.export.sensitivity --weights weights/busi-s --data BUSI --covers COVERS`` collects the ranges on
``train``, measures each group of convolutions alone on ``val``, leaves out in FP32 what the budget of INT8 asks for, on
simulated scans too, and writes ``calibration.json`` beside the weights: once for the engines on the CPU, once for
TensorRT, whose graph is another one. It takes minutes; run it again after training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from hidemia.export import calibration
from hidemia.export.calibration import Calibration, Effect, GraphCalibration, collect, save, weights_sha256
from hidemia.export.choice import Choice
from hidemia.export.effects import VERBS, Model, Remembered, measured
from hidemia.export.nodes import simplified
from hidemia.export.parity import BACKENDS, LITERAL, engines
from hidemia.export.probes import MOST_TRIPS, SIMULATED, Probes, real, simulated
from hidemia.export.quantize import LAYOUTS, Layout, Range
from hidemia.export.tracing import traced
from hidemia.export.trip import Run, travel
from hidemia.runtime.arguments import positive
from hidemia.runtime.manifest import Verb
from hidemia.training.errors import one_line
from hidemia.training.weights import load_weights

PROG = "python -m hidemia.export.sensitivity"
RANGE_IMAGES, EFFECT_IMAGES = 24, 6


def calibrate(
    weights: Path,
    data: Path,
    covers: Path,
    effect_images: int = EFFECT_IMAGES,
    choice_trips: int = MOST_TRIPS,
    layouts: Sequence[Layout] = LAYOUTS,
) -> Iterator[str]:
    """Measure, choose and write; yields a line for each step.

    Args:
        weights: the model's folder, where the result goes.
        data: medical images with the splits train and val.
        covers: photos with the same splits.
        effect_images: of val, for the effect of each group.
        choice_trips: on val at most, for the choice.
        layouts: what is measured; the others stay as they are in the file.

    Raises:
        TrainingError: no weights. DatasetError: no such images.
        ExportError: a layout shall stay as it is, and there is no calibration of these weights.
    """
    images: dict[str, str] = {}
    found: dict[Layout, dict[Verb, GraphCalibration]] = {}
    if set(layouts) != set(LAYOUTS):
        kept = calibration.load(weights)
        images, found = dict(kept.data), {"cpu": kept.graphs, "tensorrt": kept.tensorrt}
    system, config = load_weights(weights)
    made = traced(system, config)
    paths: dict[Verb, str] = {
        "hide": "hide.fp32.onnx", "analyze": "analyze.fp32.any.onnx", "recover": "recover.fp32.onnx"
    }  # fmt: skip
    entries = {verb: made[path].graph for verb, path in paths.items()}
    graphs = {verb: simplified(onnx.load_from_string(made[path].data)) for verb, path in paths.items()}
    # In FP32 the form `one` of an analyzer that has it is the same function, in less time.
    quick = {verb: made.get(path.replace(".any.", ".one."), made[path]) for verb, path in paths.items()}
    opened = {verb: engines(item.data, item.graph) for verb, item in quick.items()}
    everywhere: dict[str, dict[Verb, Run]] = {
        name: {verb: Remembered(opened[verb][name]) for verb in VERBS} for name in BACKENDS
    }
    calibrating = real(data, covers, config, RANGE_IMAGES, "train")
    probes = real(data, covers, config, effect_images)
    every, made_up = real(data, covers, config, choice_trips), simulated(SIMULATED, config.image_size_px, config.task)
    threshold = config.mask_threshold if config.task == "segmentation" else None
    for layout in layouts:
        runs = everywhere if layout == "cpu" else {LITERAL: everywhere[BACKENDS[0]]}
        ranges = ranges_of(graphs, everywhere[BACKENDS[0]], calibrating, layout)
        yield f"for {layout}: ranges of {sum(map(len, ranges.values()))} tensors on {RANGE_IMAGES} images of train"
        found[layout] = yield from chosen(
            Model(graphs, entries, runs, ranges, threshold, layout), probes, every, made_up
        )
        names = {
            "secrets": data.name, "covers": covers.name, "ranges": f"{RANGE_IMAGES} images of train",
            "effects": f"{len(probes)} images of val",
            "choice": f"{len(every)} trips of images of val, {len(made_up)} simulated",
        }  # fmt: skip
        images |= {name if layout == "cpu" else f"{layout}_{name}": value for name, value in names.items()}
        # After each: what was measured for the CPU is of use already. What TensorRT had is gone until its turn.
        save(
            Calibration(
                data=images,
                weights_sha256=weights_sha256(weights),
                graphs=found["cpu"],
                tensorrt=found.get("tensorrt", {}),
            ),
            weights,
        )


def chosen(model: Model, probes: Probes, *kinds: Probes) -> Generator[str, None, dict[Verb, GraphCalibration]]:
    """Measure the effect of each group on some images and choose on all kinds of trips; yields a line for each step."""
    reference, found = travel(model.runs, probes, model.threshold)
    effects: dict[Verb, list[Effect]] = {}
    for verb in VERBS:
        effects[verb] = []
        for effect in measured(model, verb, probes, reference, found):
            effects[verb].append(effect)
            yield (
                f"{verb:8} {effect.group:28} noise {effect.noise:9.4f}  stego {effect.stego_psnr_db:+.3f} dB  "
                f"reply {effect.reply_psnr_db:+.3f} dB  task {effect.task_points:+.2f} points"
            )
    choice = Choice(model, effects, *kinds)
    yield from choice.make()
    return {
        verb: GraphCalibration(ranges=model.ranges[verb], fp32=sorted(choice.full[verb]), effects=effects[verb])
        for verb in VERBS
    }


def ranges_of(
    graphs: Mapping[Verb, ModelProto], runs: Mapping[Verb, Run], probes: Probes, layout: Layout
) -> dict[Verb, dict[str, Range]]:
    """The ranges of each graph on what it meets on a trip."""
    photos = []
    for probe in probes:
        (stego,) = runs["hide"]({"secret": probe.secret[None], "cover": probe.cover[None]})
        (reply,) = runs["analyze"]({"stego": stego})
        photos.append((probe, stego, reply))
    feeds: dict[Verb, list[dict[str, NDArray[np.uint8]]]] = {
        "hide": [{"secret": probe.secret[None], "cover": probe.cover[None]} for probe in probes],
        "analyze": [{"stego": stego} for _, stego, _ in photos],
        "recover": [{"reply": reply, "sent": stego} for _, stego, reply in photos],
    }
    return {verb: collect(graphs[verb], feeds[verb], layout) for verb in VERBS}


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Decide on images which convolutions may be rounded to 8 bits, and write it beside the weights."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a model: weights/NAME")
    parser.add_argument("--data", type=Path, required=True, help="medical images with the splits train and val")
    parser.add_argument("--covers", type=Path, required=True, help="photos with the same splits")
    parser.add_argument("--effect-images", type=positive, default=EFFECT_IMAGES, help="of val, for each group's effect")
    parser.add_argument("--choice-trips", type=positive, default=MOST_TRIPS, help="on val at most, for the choice")
    parser.add_argument(
        "--for", dest="layouts", nargs=1, choices=LAYOUTS, default=LAYOUTS,
        help="renew this alone; the other stays as it is in the file",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    for line in calibrate(**vars(options)):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
