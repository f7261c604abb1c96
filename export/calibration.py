"""What INT8 needs to know of a model, measured once on real images and kept beside its weights.

``weights/<model>/calibration.json`` holds a range for every tensor that may be rounded, and which convolutions stay in
FP32, so that a clone without images builds the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
from msgspec import Struct
from numpy.typing import NDArray
from onnx import ModelProto

from hidemia.export.parity import session
from hidemia.export.quantize import Layout, Range, activations, grid, quantisable
from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import Verb

FILE_NAME = "calibration.json"
PARTS = ("hider", "analyzer")
SAMPLES = 1024  # values kept of a tensor and an image
JUDGED = 20_000  # values that a range is judged by
CLIPS = np.linspace(1.0, 0.3, 11)  # shares of the observed reach that a range may be cut to, on each side

Feed = Mapping[str, NDArray[np.uint8]]


class Effect(Struct, frozen=True, kw_only=True):
    """What it costs to round one group of convolutions and nothing else, on ``val``.

    Attributes:
        noise: Mean square error that it adds to the graph's output: grey levels, or thousandths of a probability.
        stego_psnr_db, reply_psnr_db, task_points: Losses of the whole trip; negative is a gain.
    """

    group: str
    convolutions: int
    noise: float
    stego_psnr_db: float
    reply_psnr_db: float
    task_points: float


class GraphCalibration(Struct, frozen=True, kw_only=True):
    """One graph.

    Attributes:
        ranges: Lowest and highest value of each tensor, clipped where that costs least.
        fp32: Groups of convolutions that stay in FP32.
        effects: Why, one for each group.
    """

    ranges: dict[str, Range]
    fp32: list[str]
    effects: list[Effect]


class Calibration(Struct, frozen=True, kw_only=True):
    """The whole of ``calibration.json``.

    Attributes:
        data: The images it was measured on, in words.
        weights_sha256: The weights it belongs to.
        graphs: By verb, for engines on the CPU.
        tensorrt: By verb, for TensorRT, which rounds fewer tensors and these coarser; empty where it was not measured.
    """

    data: dict[str, str]
    weights_sha256: dict[str, str]
    graphs: dict[Verb, GraphCalibration]
    tensorrt: dict[Verb, GraphCalibration] = {}

    def of(self, layout: Layout) -> dict[Verb, GraphCalibration]:
        """By verb, for one layout of `hidemia.export.quantize`.

        What was measured for the CPU stands in where TensorRT was not: its tensors are among those, and the budget of
        the export decides whether that does.
        """
        return (self.tensorrt if layout == "tensorrt" else {}) or self.graphs


def weights_sha256(weights: Path) -> dict[str, str]:
    """SHA-256 of each file of weights, by part."""
    return {part: hashlib.sha256((weights / f"{part}.safetensors").read_bytes()).hexdigest() for part in PARTS}


def load(weights: Path) -> Calibration:
    """Read the calibration beside some weights.

    Raises:
        ExportError: There is none, it is damaged, or it belongs to other weights.
    """
    path = weights / FILE_NAME
    remedy = f"run python -m hidemia.export.sensitivity --weights {weights} --data DIR --covers DIR"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        raise ExportError(f"{path}: expected the ranges of int8, got no such file; {remedy}", exit_code=2) from None
    except msgspec.DecodeError as error:
        raise ExportError(f"{path}: not a valid calibration: {error}; {remedy}") from None
    for part, expected in weights_sha256(weights).items():
        got = found.weights_sha256.get(part, "none")
        if got != expected:
            raise ExportError(
                f"{path}: expected a calibration of the {part} {expected[:16]}..., got one of {got[:16]}...; {remedy}"
            )
    return found


def save(calibration: Calibration, weights: Path) -> None:
    """Write it beside the weights, whole or not at all: keys sorted, the same for the same measurement."""
    text = msgspec.json.format(msgspec.json.encode(calibration, order="sorted"), indent=2) + b"\n"
    partial = weights / f".{FILE_NAME}.partial"
    partial.write_bytes(text)
    partial.replace(weights / FILE_NAME)


def collect(model: ModelProto, feeds: Iterable[Feed], layout: Layout) -> dict[str, Range]:
    """Ranges of all tensors that may be rounded.

    Args:
        model: float32, simplified.
        feeds: batches of one.
        layout: which tensors, and on which grid.

    Returns:
        The same range for tensors that share a scale, with 0 in it, rounded to 6 digits.
    """
    groups = activations(model, {node.name for node in quantisable(model)}, layout)
    names = sorted(name for group in groups for name in group)
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    engine = session(watched.SerializeToString())
    samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    reach: dict[str, Range] = dict.fromkeys(names, (0.0, 0.0))
    for feed in feeds:
        for name, value in zip(names, engine.run(names, dict(feed)), strict=True):
            flat = value.reshape(-1)
            low, high = reach[name]
            reach[name] = (min(low, float(flat.min())), max(high, float(flat.max())))
            samples[name].append(flat[:: max(1, len(flat) // SAMPLES)].copy())
    ranges: dict[str, Range] = {}
    for group in groups:
        whole = (min(reach[name][0] for name in group), max(reach[name][1] for name in group))
        sample = np.concatenate([part for name in group for part in samples[name]])
        chosen = clipped(sample[:: -(-len(sample) // JUDGED)], whole, layout)
        ranges |= dict.fromkeys(group, chosen)
    return {name: ranges[name] for name in names}


def clipped(sample: NDArray[np.float32], reach: Range, layout: Layout) -> Range:
    """The range with the least mean square error over a sample, of those that cut ``reach`` on either side."""
    best, least = reach, np.inf
    for low in reach[0] * CLIPS if reach[0] else [0.0]:
        for high in reach[1] * CLIPS if reach[1] else [0.0]:
            error = rounding_error(sample, (low, high), layout)
            if error < least:
                best, least = (low, high), error
    return float(f"{best[0]:.6g}"), float(f"{best[1]:.6g}")


def rounding_error(sample: NDArray[np.float32], limits: Range, layout: Layout) -> float:
    """Mean square error of 8-bit codes over a range."""
    scale, zero = grid(limits, layout)
    least, most = np.iinfo(zero.dtype).min, np.iinfo(zero.dtype).max
    codes = np.clip(np.rint(sample / scale) + zero, least, most)
    return float(np.mean(np.square((codes - zero) * scale - sample)))
