"""TensorRT plans beside a bundle: where they lie, and which of them this machine may load.

    <bundle>/plans/<environment>/{*.plan, receipt.json}

A plan is code that runs in this process: it is taken only from a folder that its owner alone can write, with the
hash its receipt gives, made from the very ONNX file of the manifest, by this TensorRT, for this GPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hidemia.runtime import folder as folders
from hidemia.runtime import permissions
from hidemia.runtime import receipt as receipts
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import BundleError, EngineError
from hidemia.runtime.examine import PLANS, check_plan
from hidemia.runtime.manifest import Graph
from hidemia.runtime.plan_fit import explain_plan
from hidemia.runtime.receipt import Plan, Receipt

__all__ = ["FOLDER", "Found", "environment_name", "find", "rebuild_command"]

FOLDER = PLANS
_MAX_RECEIPT_BYTES = 4 << 20


@dataclass(frozen=True)
class Found:
    """A plan that may be loaded here, read once and checked."""

    plan: Plan
    receipt: Receipt
    data: bytes


def find(bundle: Bundle, graph: Graph, environment: Environment) -> Found:
    """The plan of a graph for this machine.

    Args:
        bundle: Whose folder holds `plans/`.
        graph: A graph of its manifest.
        environment: The machine, with its TensorRT and GPU.

    Raises:
        EngineError: There is none, or each has something against it; the message says what, and the command that
            makes one.
    """
    root = bundle.path / FOLDER
    reasons = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        try:
            found = _candidate(root, folder, graph, environment)
        except (BundleError, EngineError) as error:
            reasons.append(str(error))
            continue
        if found:
            return found
    against = "; ".join(reasons) or f"got none in {root}"
    raise EngineError(
        f"{graph.path}: expected a TensorRT plan for this machine; {against}; "
        f"make one here: {rebuild_command(bundle, graph)}"
    )


def environment_name(environment: Environment) -> str:
    """The folder of a machine's plans: `trt-10.3.0-orin-sm87-l4t-36.4`.

    Raises:
        EngineError: The machine has no GPU or no TensorRT.
    """
    gpu = environment.gpu
    if not gpu or not environment.tensorrt:
        raise EngineError("plans: expected a GPU and TensorRT, got none; see hidemia doctor")
    parts = [f"trt-{environment.tensorrt}", gpu.name, f"sm{(gpu.compute_capability or '').replace('.', '')}"]
    if environment.l4t:
        parts.append(f"l4t-{'.'.join(environment.l4t.split('.')[:2])}")
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower())


def rebuild_command(bundle: Bundle, graph: Graph) -> str:
    """The command that makes the plan of a graph on the machine where it is typed."""
    return f"hidemia build --{bundle.manifest.role} {bundle.path} --precision {graph.precision}"


def _candidate(root: Path, folder: Path, graph: Graph, environment: Environment) -> Found | None:
    file = folder / receipts.FILE_NAME
    if not file.exists():
        return None  # an interrupted build: without a receipt nothing here is a plan
    permissions.check_unwritable([root, folder, file])
    receipt = receipts.load(folders.read(folder, file, _MAX_RECEIPT_BYTES), str(file))
    for plan in receipt.plans:
        if plan.onnx_path != graph.path:
            continue
        if plan.onnx_sha256 != graph.sha256 or plan.precision != graph.precision:
            raise EngineError(f"{folder.name}/{plan.path}: expected a plan of this ONNX file, got one of another")
        for mismatch in explain_plan(receipt, plan, environment, mend="hidemia doctor tells all"):
            if mismatch.grade == "FAIL":
                raise EngineError(mismatch.text)
        data = check_plan(folder, plan)
        permissions.check_unwritable([folder / plan.path])
        return Found(plan, receipt, data)
    return None
