"""TensorRT plans beside a bundle: where they lie, which of them this machine may load, and what they hold.

    <bundle>/plans/<environment>/{*.plan, receipt.json}

A plan is code that the GPU's host runs: it is taken only from a folder that its owner alone can write, with the
hash its receipt gives, made from the very ONNX file of the manifest, by this TensorRT, for this GPU.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from hidemia.runtime import receipt as receipts
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import BundleError, EngineError
from hidemia.runtime.manifest import Graph
from hidemia.runtime.receipt import Plan, Receipt

__all__ = ["FOLDER", "Found", "environment_name", "find", "mismatches", "rebuild_command"]

FOLDER = "plans"
ROOT_USER = 0
_MAX_RECEIPT_BYTES = 1 << 20


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
        EngineError: There is none, or each has something against it; the message lists what, and the command that
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
        f"{graph.path}: expected a TensorRT plan for this machine, {against}; "
        f"make one here: {rebuild_command(bundle, graph)}"
    )


def mismatches(receipt: Receipt, plan: Plan, environment: Environment) -> list[str]:
    """What keeps a plan from running on a machine, in plain words; nothing when it may be loaded.

    Args:
        receipt: Where the plan was built.
        plan: One of its plans.
        environment: Where it is to run.
    """
    found = []
    if not _serves_version(receipt.tensorrt, environment.tensorrt, later=plan.version_compatible):
        found.append(f"built by TensorRT {receipt.tensorrt}, this is {environment.tensorrt or 'none'}")
    gpu = environment.gpu
    name, capability = (gpu.name, gpu.compute_capability) if gpu else (None, None)
    if not _serves_gpu(receipt, plan, name, capability):
        found.append(
            f"built for {receipt.gpu} (compute capability {receipt.compute_capability}"
            f"{_widened(plan)}), this is {name or 'no GPU'} ({capability or 'unknown'})"
        )
    if receipt.architecture != environment.architecture:
        found.append(f"built on {receipt.architecture}, this is {environment.architecture}")
    if _release(receipt.l4t) != _release(environment.l4t):
        found.append(f"built on Jetson Linux {receipt.l4t or 'none'}, this is {environment.l4t or 'none'}")
    return found


def environment_name(environment: Environment) -> str:
    """The folder of a machine's plans: `trt-10.3.0-nvidia-orin-sm87-l4t-36.4`.

    Raises:
        EngineError: The machine has no GPU or no TensorRT.
    """
    gpu = environment.gpu
    if not gpu or not environment.tensorrt:
        raise EngineError("plans: expected a GPU and TensorRT, got none; see hidemia doctor")
    parts = [f"trt-{environment.tensorrt}", gpu.name, f"sm{(gpu.compute_capability or '').replace('.', '')}"]
    if environment.l4t:
        parts.append(f"l4t-{_release(environment.l4t)}")
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower())


def rebuild_command(bundle: Bundle, graph: Graph) -> str:
    """The command that makes the plan of a graph on the machine where it is typed."""
    return f"hidemia build --{bundle.manifest.role} {bundle.path} --precision {graph.precision}"


def _candidate(root: Path, folder: Path, graph: Graph, environment: Environment) -> Found | None:
    file = folder / receipts.FILE_NAME
    if not file.exists():
        return None  # an interrupted build: without a receipt nothing here is a plan
    for path in (root, folder, file):
        _require_private(path)
    receipt = receipts.load(_read(file, _MAX_RECEIPT_BYTES), str(file))
    for plan in receipt.plans:
        if plan.onnx_path != graph.path:
            continue
        against = mismatches(receipt, plan, environment)
        if plan.onnx_sha256 != graph.sha256 or plan.precision != graph.precision:
            against.append("built from another ONNX file")
        if against:
            raise EngineError(f"{folder.name}/{plan.path} was {', '.join(against)}")
        return Found(plan, receipt, _plan_bytes(folder / plan.path, plan))
    return None


def _plan_bytes(file: Path, plan: Plan) -> bytes:
    _require_private(file)
    data = _read(file, plan.size_bytes)
    if len(data) != plan.size_bytes:
        raise BundleError(f"{file}: expected {plan.size_bytes} bytes, got {file.stat().st_size}")
    got = hashlib.sha256(data).hexdigest()
    if got != plan.sha256:
        raise BundleError(f"{file}: expected SHA-256 {plan.sha256[:16]}..., got {got[:16]}...: changed or damaged")
    return data


def _require_private(path: Path) -> None:
    """Plans are code: whoever can write here could run anything in this process."""
    if os.name != "posix":
        return
    try:
        found = path.lstat()
    except OSError as error:
        raise BundleError(f"{path}: expected to be there, got {error.strerror}") from None
    if stat.S_ISLNK(found.st_mode):
        raise EngineError(f"{path}: expected no link, got one")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(
            f"{path}: expected that its owner alone can write it, got mode {stat.S_IMODE(found.st_mode):o} "
            f"(chmod go-w {path}, if you trust what is in it)"
        )
    if found.st_uid not in (ROOT_USER, os.geteuid()):
        raise EngineError(f"{path}: expected to belong to this user or to root, got user {found.st_uid}")


def _read(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except OSError as error:
        raise BundleError(f"{file}: expected a readable file, got {error.strerror}") from None


def _serves_version(built: str, running: str | None, *, later: bool) -> bool:
    """The same TensorRT, or a later one of the same major where the plan was built for that."""
    if running is None or not later:
        return built == running
    numbers = [[int(part) for part in version.split(".") if part.isdecimal()] for version in (built, running)]
    return numbers[0][:1] == numbers[1][:1] and numbers[0] <= numbers[1]


def _serves_gpu(receipt: Receipt, plan: Plan, name: str | None, capability: str | None) -> bool:
    if name is None or capability is None:
        return False
    if plan.hardware_compatibility == "same_compute_capability":
        return capability == receipt.compute_capability
    if plan.hardware_compatibility == "ampere_plus":
        return int(capability.split(".")[0]) >= 8
    return name == receipt.gpu and capability == receipt.compute_capability


def _widened(plan: Plan) -> str:
    level = plan.hardware_compatibility
    return "" if level == "none" else f", level {level.replace('_', ' ')}"


def _release(l4t: str | None) -> str | None:
    """Major and minor: patches of one Jetson Linux share their CUDA and TensorRT."""
    return ".".join(l4t.split(".")[:2]) if l4t else None
