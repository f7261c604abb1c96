"""Which convolutions may be rounded to 8 bits: decided by what it costs the product, on images.

``python -m hidemia.export.sensitivity --weights weights/busi --data BUSI --covers COVERS`` collects the ranges on
``train``, measures each group of convolutions alone on ``val``, leaves out in FP32 what the budget of INT8 asks for,
and writes ``calibration.json`` beside the weights. It takes minutes; run it again after training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from hidemia.export.bundles import traced
from hidemia.export.calibration import Calibration, Effect, GraphCalibration, collect, save, weights_sha256
from hidemia.export.nodes import simplified
from hidemia.export.parity import runner
from hidemia.export.probes import Probes, real
from hidemia.export.quantize import Range, quantised
from hidemia.export.trip import BUDGETS, Figures, Run, known, losses, travel
from hidemia.export.variants import convolution_groups
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.manifest import Verb
from hidemia.training.weights import load_weights

VERBS: tuple[Verb, ...] = ("hide", "analyze", "recover")
RANGE_IMAGES, EFFECT_IMAGES = 24, 6
MARGIN = 0.5  # share of the budget that the choice may use: other images are not these


@dataclass(frozen=True)
class Model:
    """The FP32 graphs of a model, what runs them, and their ranges, each by verb."""

    graphs: dict[Verb, ModelProto]
    runs: dict[Verb, Run]
    ranges: dict[Verb, dict[str, Range]]
    threshold: float | None

    def rounded(self, verb: Verb, convolutions: set[str]) -> Run:
        """A graph with these convolutions in 8 bits."""
        return runner(quantised(self.graphs[verb], self.ranges[verb], convolutions).SerializeToString())


def calibrate(weights: Path, data: Path, covers: Path) -> Iterator[str]:
    """Measure, choose and write; yields a line for each step.

    Raises:
        TrainingError: no weights. DatasetError: no such images.
    """
    system, config = load_weights(weights)
    made = traced(system, config)
    paths: dict[Verb, str] = {
        "hide": "hide.fp32.onnx", "analyze": "analyze.fp32.any.onnx", "recover": "recover.fp32.onnx"
    }  # fmt: skip
    graphs = {verb: simplified(onnx.load_from_string(made[path][1].data)) for verb, path in paths.items()}
    runs = {verb: runner(graph.SerializeToString()) for verb, graph in graphs.items()}
    ranges = ranges_of(graphs, runs, real(data, covers, config, RANGE_IMAGES, "train"))
    yield f"ranges of {sum(map(len, ranges.values()))} tensors on {RANGE_IMAGES} images of train"
    threshold = config.mask_threshold if config.task == "segmentation" else None
    model = Model(graphs, runs, ranges, threshold)
    probes = real(data, covers, config, EFFECT_IMAGES)
    reference, found = travel(runs, probes, threshold)
    effects: dict[Verb, list[Effect]] = {}
    for verb in VERBS:
        effects[verb] = []
        for effect in measured(model, verb, probes, reference, found):
            effects[verb].append(effect)
            yield (
                f"{verb:8} {effect.group:28} noise {effect.noise:9.4f}  stego {effect.stego_psnr_db:+.3f} dB  "
                f"reply {effect.reply_psnr_db:+.3f} dB  task {effect.task_points:+.2f} points"
            )
    every = real(data, covers, config)
    full: dict[Verb, list[str]] = {verb: [] for verb in VERBS}
    for full, line in choices(model, effects, every):  # noqa: B020 - the last one stands
        yield line
    save(
        Calibration(
            data={
                "secrets": data.name, "covers": covers.name, "ranges": f"{RANGE_IMAGES} images of train",
                "effects": f"{EFFECT_IMAGES} images of val", "choice": f"{len(every)} images of val",
            },
            weights_sha256=weights_sha256(weights),
            graphs={
                verb: GraphCalibration(ranges=ranges[verb], fp32=sorted(full[verb]), effects=effects[verb])
                for verb in VERBS
            },
        ),
        weights,
    )  # fmt: skip


def ranges_of(
    graphs: Mapping[Verb, ModelProto], runs: Mapping[Verb, Run], probes: Probes
) -> dict[Verb, dict[str, Range]]:
    """The ranges of each graph on what it meets on a trip."""
    photos = []
    for probe in probes:
        stego = runs["hide"]({"secret": probe.secret[None], "cover": probe.cover[None]})
        photos.append((probe, stego, runs["analyze"]({"stego": stego})))
    feeds: dict[Verb, list[dict[str, NDArray[np.uint8]]]] = {
        "hide": [{"secret": probe.secret[None], "cover": probe.cover[None]} for probe in probes],
        "analyze": [{"stego": stego} for _, stego, _ in photos],
        "recover": [{"reply": reply, "sent": stego} for _, stego, reply in photos],
    }
    return {verb: collect(graphs[verb], feeds[verb]) for verb in VERBS}


def measured(
    model: Model, verb: Verb, probes: Probes, reference: Figures, found: list[NDArray[Any]]
) -> Iterator[Effect]:
    """The effect of each group of a graph's convolutions."""
    probes = known(probes, found, model.threshold)
    for group, names in convolution_groups(model.graphs[verb]).items():
        noise = Noise(model.runs[verb], model.rounded(verb, set(names)), 1 if verb != "recover" else 1000)
        got, _ = travel(model.runs | {verb: noise}, probes, model.threshold)
        yield Effect(
            group=group,
            convolutions=len(names),
            noise=_digits(noise.mean),
            stego_psnr_db=_digits(reference.stego_psnr_db - got.stego_psnr_db),
            reply_psnr_db=_digits(reference.reply_psnr_db - got.reply_psnr_db),
            task_points=_digits(100 * (reference.task - got.task)),
        )


class Noise:
    """A graph that runs beside its FP32 reference, and the mean square of their difference so far."""

    def __init__(self, reference: Run, rounded: Run, unit: float) -> None:
        self._reference, self._rounded, self._unit = reference, rounded, unit
        self._errors: list[float] = []

    def __call__(self, feed: Mapping[str, NDArray[np.uint8]]) -> NDArray[Any]:
        expected, got = self._reference(feed), self._rounded(feed)
        difference = (expected.astype(np.float32) - got.astype(np.float32)) * self._unit
        self._errors.append(float(np.mean(np.square(difference))))
        return got

    @property
    def mean(self) -> float:
        """In the unit's square."""
        return float(np.mean(self._errors))


def choices(
    model: Model, effects: Mapping[Verb, list[Effect]], probes: Probes
) -> Iterator[tuple[dict[Verb, list[str]], str]]:
    """From everything rounded, leave out the noisiest group until the losses fit: the groups so far, and a line.

    Which graph a group is taken from follows from the figure that is worst: only the hider can spoil the stego.
    """
    suspects: dict[str, tuple[Verb, ...]] = {
        "stego_psnr_db": ("hide",), "reply_psnr_db": ("analyze", "hide"), "task": ("recover", "analyze", "hide")
    }  # fmt: skip
    reference, found = travel(model.runs, probes, model.threshold)
    probes = known(probes, found, model.threshold)
    full: dict[Verb, list[str]] = {verb: [] for verb in VERBS}
    while True:
        runs = {
            verb: model.rounded(
                verb,
                {n for g, names in convolution_groups(model.graphs[verb]).items() if g not in full[verb] for n in names},
            )
            for verb in VERBS
        }
        got, _ = travel(runs, probes, model.threshold)
        shares = losses(reference, got, BUDGETS["int8"])
        worst = max(shares, key=lambda name: shares[name])
        line = ", ".join(f"{name} {share:+.2f}" for name, share in shares.items())
        yield full, f"shares of the budget used on {len(probes)} images: {line}"
        left = [
            (effect.noise / sum(other.noise for other in effects[verb]), verb, effect.group)
            for verb in suspects[worst]
            for effect in effects[verb]
            if effect.group not in full[verb]
        ]
        if shares[worst] <= MARGIN or not left:
            return
        _, verb, group = max(left)
        full = full | {verb: [*full[verb], group]}
        yield full, f"left in FP32: {group} of {verb}"


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main(arguments: list[str]) -> int:
    """The command of this module; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m hidemia.export.sensitivity", description=calibrate.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a model: weights/NAME")
    parser.add_argument("--data", type=Path, required=True, help="medical images with the splits train and val")
    parser.add_argument("--covers", type=Path, required=True, help="photos with the same splits")
    options = parser.parse_args(arguments)
    try:
        for line in calibrate(options.weights, options.data, options.covers):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    except HidemiaError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
