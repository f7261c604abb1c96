"""What it costs the product to round each group of convolutions alone, measured on images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from hidemia.export.calibration import Effect
from hidemia.export.parity import LITERAL, engines, literal, runner
from hidemia.export.probes import Probes
from hidemia.export.quantize import Layout, Range, quantised
from hidemia.export.trip import Figures, Run, known, travel
from hidemia.export.variants import convolution_groups
from hidemia.runtime.manifest import Graph, Verb

VERBS: tuple[Verb, ...] = ("hide", "analyze", "recover")


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


def _digits(value: float) -> float:
    return float(f"{value:.4g}")
