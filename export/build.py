"""``hidemia build --client DIR | --server DIR``: TensorRT plans from a bundle, on the device that will run them.

It needs numpy and TensorRT, neither torch nor onnx. A plan counts once it is proven: its layers have the precision
asked for, and the runtime has loaded it and run it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np

from hidemia.export.plan import PlanSettings, build_plan
from hidemia.export.shelf import Shelf
from hidemia.export.timing_cache import TimingCache
from hidemia.runtime import environment as environments
from hidemia.runtime import plans, tensorrt_binding
from hidemia.runtime.arguments import Parser, positive, say, usage_error
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings, open_engine
from hidemia.runtime.errors import EngineError
from hidemia.runtime.manifest import VERBS, Graph, Precision, Role
from hidemia.runtime.receipt import HardwareCompatibility

__all__ = ["build", "build_bundle", "build_here"]

BATCHES: dict[Role, tuple[int, int, int]] = {
    "client": (1, 1, 1),  # a fixed size: the engine replays it as one CUDA graph
    "server": (1, 8, 8),  # as many as `hidemia serve` hands to one call unless told otherwise
}


def build(arguments: list[str]) -> int:
    """Run `hidemia build`: 0 when every plan is there and proven."""
    parser = Parser("build", "Make TensorRT plans from a bundle's ONNX files, for the GPU of this machine.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--client", type=Path, metavar="DIR", help="client bundle: plans of hide and recover")
    which.add_argument("--server", type=Path, metavar="DIR", help="server bundle: plans of analyze")
    parser.add_argument(
        "--precision", type=_precisions, default=(), metavar="LIST", help="of fp32,fp16,int8 (default: the first)"
    )
    parser.add_argument(
        "--batch", type=_batch, metavar="N|N-M", help="images of one run (default: 1 for a client, 1-8 for a server)"
    )
    parser.add_argument("--workspace", type=positive, default=1024, metavar="MIB", help="memory for a layer (1024)")
    parser.add_argument(
        "--hardware",
        choices=[level.replace("_", "-") for level in get_args(HardwareCompatibility)],
        default="none",
        help="other GPUs that it must run on, at a cost in speed",
    )
    parser.add_argument(
        "--version-compatible", action="store_true", help="later TensorRT of this major must run it, at a cost"
    )
    options = parser.parse_args(arguments)
    role: Role = "client" if options.client else "server"
    settings = PlanSettings(
        batch=options.batch or BATCHES[role],
        workspace_mib=options.workspace,
        hardware_compatibility=options.hardware.replace("-", "_"),
        version_compatible=options.version_compatible,
    )
    build_bundle(Bundle.open(options.client or options.server, role), options.precision, settings)
    return 0


def build_here(folder: Path) -> str:
    """What `hidemia export` does last: plans of all its graphs where there is a GPU.

    Args:
        folder: With `client/` and `server/`.

    Returns:
        One line: what was done, or why nothing was.

    Raises:
        EngineError, ExportError: There is a GPU, and a plan could not be built.
    """
    try:
        tensorrt_binding.load()
        plans.environment_name(environments.gather())
    except EngineError as error:
        return f"TensorRT plans: none built here: {error}"
    for role in get_args(Role):
        bundle = Bundle.open(folder / role, role)
        every = tuple(dict.fromkeys(g.precision for g in bundle.manifest.graphs if g.runs_on("tensorrt")))
        build_bundle(bundle, every, PlanSettings(batch=BATCHES[role]))
    return f"TensorRT plans: built in {folder} for this machine"


def build_bundle(bundle: Bundle, precisions: Sequence[Precision], settings: PlanSettings) -> None:
    """Make the plans of a bundle that are not there yet, and say each.

    Args:
        bundle: Its `plans/<environment>/` is written.
        precisions: Which of its graphs; its first precision when empty.
        settings: `batch` is narrowed to what each graph takes.

    Raises:
        BundleError: The bundle has no such graph, or is damaged.
        EngineError: No TensorRT, no GPU, a plan that does not run, or a file that cannot be written.
        ExportError: A plan cannot be built, or not in its precision.
    """
    graphs = _graphs(bundle, precisions)
    trt = tensorrt_binding.load()
    environment = environments.gather()
    cache = TimingCache(plans.environment_name(environment))
    shelf = Shelf(bundle, environment)
    for graph in graphs:
        path = f"{Path(graph.path).stem}.plan"
        mine = replace(settings, batch=_narrowed(settings.batch, graph))
        if shelf.holds(path, graph, mine):
            say(f"{path:24} is there, built for this machine")
            continue
        start = time.monotonic()
        built = build_plan(trt, bundle.read(graph), graph, mine, cache.read())
        cache.write(built.timing_cache)
        with shelf.adding(path, graph, mine, built):
            _try(bundle, graph, mine)
        types = ", ".join(f"{count} layers in {kind}" for kind, count in built.types.items())
        say(f"{path:24} {len(built.data) / 2**20:5.1f} MiB  {types}; built and run in {time.monotonic() - start:.0f} s")


def _graphs(bundle: Bundle, precisions: Sequence[Precision]) -> list[Graph]:
    """Every graph of the bundle in the precisions asked for, forms of MoDC included."""
    found = []
    for verb in VERBS[bundle.manifest.role]:
        for asked in precisions or (None,):
            first = bundle.graph(verb, precision=asked, backend="tensorrt")
            found += [
                graph
                for graph in bundle.manifest.graphs
                if graph.verb == verb and graph.precision == first.precision and graph.runs_on("tensorrt")
            ]
    return found


def _narrowed(batch: tuple[int, int, int], graph: Graph) -> tuple[int, int, int]:
    fewest, most = graph.batch
    low, likely, high = (max(fewest, size if most is None else min(size, most)) for size in batch)
    return low, likely, high


def _try(bundle: Bundle, graph: Graph, settings: PlanSettings) -> None:
    """Load the plan as a product would and run its smallest and its largest batch."""
    with open_engine(bundle, graph, EngineSettings(backend="tensorrt", device="cuda")) as engine:
        for batch in sorted({settings.batch[0], settings.batch[2]}):
            shapes = {t.name: (batch, *(int(size) for size in t.shape[1:])) for t in graph.inputs}
            outputs = engine.run({t.name: np.zeros(shapes[t.name], t.dtype) for t in graph.inputs})
            if not all(np.isfinite(array).all() for array in outputs.values()):
                raise EngineError(f"{graph.path}: expected finite outputs of a black photo, got others; build it again")


def _precisions(text: str) -> tuple[Precision, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    if wrong := [name for name in names if name not in get_args(Precision)]:
        raise argparse.ArgumentTypeError(f"expected some of {','.join(get_args(Precision))}, got {wrong[0]!r}")
    return cast("tuple[Precision, ...]", names)


def _batch(text: str) -> tuple[int, int, int]:
    low, dash, high = text.partition("-")
    fewest, most = positive(low), positive(high) if dash else positive(low)
    if fewest > most:
        raise usage_error(f"--batch: expected the smaller number first, got {text}; turn them round")
    return fewest, most, most
