"""A server bundle -> a Triton model repository: the pure graph or plan, and how Triton batches it.

    <out>/<name>/config.pbtxt
    <out>/<name>/1/model.onnx | model.plan

Needs neither torch nor onnx: a repository can be written wherever a bundle is.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hidemia.runtime import receipt as receipts
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import BundleError, ExportError
from hidemia.runtime.examine import check_plan
from hidemia.runtime.folder import check_writable, read
from hidemia.runtime.manifest import Graph, Precision, Tensor

DEFAULT_NAME = "photos"  # it is part of every URL: no name that says medicine
UNBOUNDED = 8  # most images of one run where the graph sets no limit; what `hidemia serve` gathers
QUEUE_DELAY_US = 2000

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_MAX_RECEIPT_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Served:
    """One graph in the form that Triton runs.

    Attributes:
        backend: Triton's name of the engine.
        file: Its file name for that engine.
        data: The bytes, hash checked.
        graph: What the manifest says of the graph.
        max_batch: Most images of one run.
    """

    backend: str
    file: str
    data: bytes
    graph: Graph
    max_batch: int


def write_repository(
    server: Path,
    out: Path,
    *,
    name: str = DEFAULT_NAME,
    precision: Precision | None = None,
    plans: Path | None = None,
) -> Path:
    """Write the analyze network of a server bundle as a Triton model.

    Args:
        server: the bundle's folder.
        out: the model repository; other models in it are left alone.
        name: the model's name, which its clients use; an older model of this name is replaced.
        precision: the manifest's first when None.
        plans: a folder of TensorRT plans with its receipt: serve the plan instead of the ONNX file.

    Returns:
        The model's folder.

    Raises:
        BundleError: no server bundle, or a damaged one; no receipt, or a damaged plan; out cannot be written.
        ExportError: no graph takes any batch, or the name suits no URL.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ExportError(f"name: expected letters, digits, '_', '.' and '-', got {name!r}; it is part of a URL")
    bundle = Bundle.open(server, "server")
    served = _onnx(bundle, precision) if plans is None else _plan(bundle, precision, plans)
    check_writable(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=f".{name}-") as folder:
        made = Path(folder) / name
        (made / "1").mkdir(parents=True)
        (made / "1" / served.file).write_bytes(served.data)
        (made / "config.pbtxt").write_text(config(name, served), encoding="ascii")
        if (out / name).exists():
            (out / name).rename(Path(folder) / "old")
        made.rename(out / name)
    return out / name


def config(name: str, served: Served) -> str:
    """The text of `config.pbtxt`."""
    batches = sorted({2**power for power in range(1, served.max_batch.bit_length())} | {served.max_batch})
    lines = [
        f"name: {json.dumps(name)}",
        f"backend: {json.dumps(served.backend)}",
        f"default_model_filename: {json.dumps(served.file)}",
        f"max_batch_size: {served.max_batch}",
        *(_tensor("input", tensor) for tensor in served.graph.inputs),
        *(_tensor("output", tensor) for tensor in served.graph.outputs),
        "dynamic_batching {",
        f"  preferred_batch_size: [ {', '.join(map(str, batches))} ]",
        f"  max_queue_delay_microseconds: {QUEUE_DELAY_US}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _tensor(kind: str, tensor: Tensor) -> str:
    """Triton counts the batch apart from the other dimensions."""
    dims = ", ".join(str(size) for size in tensor.shape[1:])
    return f"{kind} [ {{ name: {json.dumps(tensor.name)} data_type: {_TYPES[tensor.dtype]} dims: [ {dims} ] }} ]"


def _onnx(bundle: Bundle, precision: Precision | None) -> Served:
    graph = _any_batch(bundle, precision, "onnxruntime")
    return Served(
        backend="onnxruntime",
        file="model.onnx",
        data=bundle.read(graph),
        graph=graph,
        max_batch=graph.batch[1] or UNBOUNDED,
    )


def _plan(bundle: Bundle, precision: Precision | None, folder: Path) -> Served:
    file = folder / receipts.FILE_NAME
    try:
        receipt = receipts.load(read(folder, file, _MAX_RECEIPT_BYTES), str(file))
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{folder}: expected a folder of plans, got no {receipts.FILE_NAME}; hidemia build makes one", exit_code=2
        ) from None
    graphs = {graph.path: graph for graph in bundle.manifest.graphs}
    plans = [
        (plan, graphs[plan.onnx_path])
        for plan in receipt.plans
        if plan.onnx_path in graphs
        and graphs[plan.onnx_path].sha256 == plan.onnx_sha256
        and plan.batch[0] == 1
        and precision in (None, plan.precision)
    ]
    if not plans:
        raise BundleError(
            f"{file}: expected a plan of one of {bundle.path}'s graphs in {precision or 'any precision'}, "
            f"got {', '.join(f'{plan.path} of {plan.onnx_path}' for plan in receipt.plans)}; hidemia build makes one"
        )
    plan, graph = max(plans, key=lambda pair: pair[0].batch[2])
    return Served(
        backend="tensorrt",
        file="model.plan",
        data=check_plan(folder, plan),
        graph=graph,
        max_batch=plan.batch[2],
    )


def _any_batch(bundle: Bundle, precision: Precision | None, backend: str) -> Graph:
    """The graph of a precision that takes the largest batch; Triton feeds it every batch from one up."""
    chosen = bundle.graph("analyze", precision=precision, backend=backend)
    graphs = [
        graph
        for graph in bundle.manifest.graphs
        if graph.precision == chosen.precision and backend in graph.backends and graph.batch[0] == 1 != graph.batch[1]
    ]
    if not graphs:
        raise ExportError(
            f"{bundle.path}: expected a graph for any batch, got only {chosen.path} for one image; export it again"
        )
    return max(graphs, key=lambda graph: graph.batch[1] or 2**31)
