"""Which convolutions may be rounded to 8 bits: decided by what it costs the product, on images.

``python -m hidemia.export.sensitivity --weights weights/busi --data BUSI --covers COVERS`` collects the ranges on
``train``, measures each group of convolutions alone on ``val``, leaves out in FP32 what the budget of INT8 asks for,
and writes ``calibration.json`` beside the weights: once for the engines on the CPU, once for TensorRT, whose graph is
another one. It takes minutes; run it again after training.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from hidemia.export import calibration
from hidemia.export.calibration import Calibration, Effect, GraphCalibration, collect, save, weights_sha256
from hidemia.export.nodes import simplified
from hidemia.export.parity import BACKENDS, LITERAL, engines, literal, runner
from hidemia.export.probes import Probes, real
from hidemia.export.quantize import LAYOUTS, Layout, Range, quantised
from hidemia.export.tracing import traced
from hidemia.export.trip import BUDGETS, Figures, Run, known, losses, travel
from hidemia.export.variants import convolution_groups
from hidemia.runtime.manifest import Graph, Verb
from hidemia.training.errors import one_line
from hidemia.training.weights import load_weights

PROG = "python -m hidemia.export.sensitivity"
VERBS: tuple[Verb, ...] = ("hide", "analyze", "recover")
RANGE_IMAGES, EFFECT_IMAGES = 24, 6
MARGIN = 0.8  # share of the budget that the choice may use: other images are not these
STEP = 0.25  # share of a graph's noise that one step takes out


@dataclass(frozen=True)
class Model:
    """The FP32 graphs of a model, what runs them, and their ranges, each by verb; `everywhere` by engine first.

    What is for TensorRT runs in one engine, as it is written.
    """

    graphs: dict[Verb, ModelProto]
    entries: dict[Verb, Graph]
    everywhere: dict[str, dict[Verb, Run]]
    ranges: dict[Verb, dict[str, Range]]
    threshold: float | None
    layout: Layout = "cpu"

    @property
    def runs(self) -> dict[Verb, Run]:
        """In the first engine."""
        return next(iter(self.everywhere.values()))

    def rounded(self, verb: Verb, convolutions: set[str]) -> Run:
        """A graph with these convolutions in 8 bits, in the first engine."""
        return (runner if self.layout == "cpu" else literal)(self._rounded(verb, convolutions))

    def rounded_everywhere(self, verb: Verb, convolutions: set[str]) -> dict[str, Run]:
        """The same in every engine: each rounds in places of its own."""
        if self.layout == "tensorrt":
            return {LITERAL: self.rounded(verb, convolutions)}
        return engines(self._rounded(verb, convolutions), self.entries[verb])

    def _rounded(self, verb: Verb, convolutions: set[str]) -> bytes:
        made = quantised(self.graphs[verb], self.ranges[verb], convolutions, self.layout)
        data: bytes = made.SerializeToString()
        return data


def calibrate(
    weights: Path,
    data: Path,
    covers: Path,
    effect_images: int = EFFECT_IMAGES,
    choice_images: int | None = None,
    layouts: Sequence[Layout] = LAYOUTS,
) -> Iterator[str]:
    """Measure, choose and write; yields a line for each step.

    Args:
        weights: the model's folder, where the result goes.
        data: medical images with the splits train and val.
        covers: photos with the same splits.
        effect_images: of val, for the effect of each group.
        choice_images: of val, for the choice; all when None.
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
    probes, every = real(data, covers, config, effect_images), real(data, covers, config, choice_images)
    threshold = config.mask_threshold if config.task == "segmentation" else None
    for layout in layouts:
        runs = everywhere if layout == "cpu" else {LITERAL: everywhere[BACKENDS[0]]}
        ranges = ranges_of(graphs, everywhere[BACKENDS[0]], calibrating, layout)
        yield f"for {layout}: ranges of {sum(map(len, ranges.values()))} tensors on {RANGE_IMAGES} images of train"
        found[layout] = yield from chosen(Model(graphs, entries, runs, ranges, threshold, layout), probes, every)
        names = {
            "secrets": data.name, "covers": covers.name, "ranges": f"{RANGE_IMAGES} images of train",
            "effects": f"{len(probes)} images of val", "choice": f"{len(every)} images of val",
        }  # fmt: skip
        images |= {name if layout == "cpu" else f"{layout}_{name}": value for name, value in names.items()}
    save(
        Calibration(
            data=images, weights_sha256=weights_sha256(weights), graphs=found["cpu"], tensorrt=found["tensorrt"]
        ),
        weights,
    )


def chosen(model: Model, probes: Probes, every: Probes) -> Generator[str, None, dict[Verb, GraphCalibration]]:
    """Measure the effect of each group on some images and choose on all; yields a line for each step."""
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
    choice = Choice(model, effects, every)
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
    """A graph that runs beside its FP32 reference, and the mean square of the difference of their first outputs."""

    def __init__(self, reference: Run, rounded: Run, unit: float) -> None:
        self._reference, self._rounded, self._unit = reference, rounded, unit
        self._errors: list[float] = []

    def __call__(self, feed: Mapping[str, NDArray[np.uint8]]) -> list[NDArray[Any]]:
        expected, got = self._reference(feed), self._rounded(feed)
        difference = (expected[0].astype(np.float32) - got[0].astype(np.float32)) * self._unit
        self._errors.append(float(np.mean(np.square(difference))))
        return got

    @property
    def mean(self) -> float:
        """In the unit's square."""
        return float(np.mean(self._errors))


class Remembered:
    """A graph that computes each input once: the FP32 half of most trips is the same."""

    def __init__(self, run: Run) -> None:
        self._run, self._known = run, dict[bytes, list[NDArray[Any]]]()

    def __call__(self, feed: Mapping[str, NDArray[np.uint8]]) -> list[NDArray[Any]]:
        key = hashlib.sha256(b"".join(value.tobytes() for value in feed.values())).digest()
        if key not in self._known:
            self._known[key] = self._run(feed)
        return self._known[key]


class Choice:
    """Which groups stay in FP32: from everything rounded, the noisiest are left out until the losses fit.

    Which graph they are taken from follows from the worst figure: the hider alone can spoil the stego, the task is
    spoilt by the graph that costs most of it when it alone is rounded.

    Attributes:
        full: the groups so far, by verb.
    """

    def __init__(self, model: Model, effects: Mapping[Verb, list[Effect]], probes: Probes) -> None:
        self.full: dict[Verb, list[str]] = {verb: [] for verb in VERBS}
        self._model, self._effects = model, effects
        self._reference: dict[str, Figures] = {}
        for name, runs in model.everywhere.items():
            self._reference[name], found = travel(runs, probes, model.threshold)
            if runs is model.runs:
                probes = known(probes, found, model.threshold)
        self._probes = probes

    def make(self) -> Iterator[str]:
        """Choose; yields a line for each step."""
        alone = {}
        for verb in VERBS:
            alone[verb] = self._losses(verb)
            yield f"{verb} alone in int8: {_shares(alone[verb])} of the budget on {len(self._probes)} images"
        suspects: dict[str, list[Verb]] = {
            "stego_psnr_db": ["hide"],
            "reply_psnr_db": ["analyze", "hide"],
            "task": sorted(VERBS, key=lambda verb: -alone[verb]["task"]),
            "sealed": sorted(VERBS, key=lambda verb: -alone[verb]["sealed"]),
        }
        while True:
            shares = self._losses(*VERBS)
            yield f"all in int8: {_shares(shares)} of the budget"
            worst = max(shares, key=lambda name: shares[name])
            open_to = [verb for verb in suspects[worst] if self._left(verb)]
            if shares[worst] <= MARGIN or not open_to:
                return
            verb = open_to[0]
            groups = self._noisiest(verb)
            self.full[verb] += groups
            yield f"left in FP32 for {worst}: {', '.join(groups)} of {verb}"

    def _losses(self, *verbs: Verb) -> dict[str, float]:
        """Shares of the budget that are used when these graphs are rounded as far as is chosen, in the worst engine."""
        rounded = {verb: self._model.rounded_everywhere(verb, self._convolutions(verb)) for verb in verbs}
        worst: dict[str, float] = {}
        for name, runs in self._model.everywhere.items():
            mine = runs | {verb: everywhere[name] for verb, everywhere in rounded.items()}
            got, _ = travel(mine, self._probes, self._model.threshold)
            for figure, share in losses(self._reference[name], got, BUDGETS["int8"]).items():
                worst[figure] = max(share, worst.get(figure, share))
        return worst

    def _convolutions(self, verb: Verb) -> set[str]:
        groups = convolution_groups(self._model.graphs[verb])
        return {name for group, names in groups.items() if group not in self.full[verb] for name in names}

    def _left(self, verb: Verb) -> list[Effect]:
        return [effect for effect in self._effects[verb] if effect.group not in self.full[verb]]

    def _noisiest(self, verb: Verb) -> list[str]:
        """The fewest groups that make a part of the noise which is left."""
        left = sorted(self._left(verb), key=lambda effect: -effect.noise)
        total, taken = sum(effect.noise for effect in left), 0.0
        groups: list[str] = []
        for effect in left:
            if taken >= STEP * total and groups:
                break
            taken += effect.noise
            groups.append(effect.group)
        return groups


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:+.2f}" for name, share in shares.items())


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Decide on images which convolutions may be rounded to 8 bits, and write it beside the weights."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a model: weights/NAME")
    parser.add_argument("--data", type=Path, required=True, help="medical images with the splits train and val")
    parser.add_argument("--covers", type=Path, required=True, help="photos with the same splits")
    parser.add_argument("--effect-images", type=int, default=EFFECT_IMAGES, help="of val, for each group's effect")
    parser.add_argument("--choice-images", type=int, help="of val, for the choice (default: all)")
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
