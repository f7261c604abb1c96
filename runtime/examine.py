"""A bundle's folder held against a machine: all that is damaged, badly guarded or does not fit, without loading it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hidemia.runtime import folder as folders
from hidemia.runtime import permissions
from hidemia.runtime import receipt as receipts
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import BundleError, HidemiaError
from hidemia.runtime.explain import explain
from hidemia.runtime.manifest import Precision, Role
from hidemia.runtime.mismatch import Mismatch, fail
from hidemia.runtime.receipt import Plan, Receipt

__all__ = ["PLANS", "check_plan", "examine"]

PLANS = "plans"
"""Folder of a bundle that holds `<environment>/{*.plan, receipt.json}`."""

_MAX_RECEIPT_BYTES = 4 << 20


def examine(
    path: Path,
    role: Role,
    environment: Environment,
    *,
    settings: EngineSettings | None = None,
    precision: Precision | None = None,
    providers: Iterable[str] | None = None,
    trusted_keys: Sequence[str | Path] | None = None,
    shared_ok: bool = False,
) -> list[Mismatch]:
    """Every mismatch of a bundle's folder and a machine.

    Args:
        path: The bundle's folder.
        role: What it is needed for.
        environment: The machine.
        settings: The engine that is asked for; ONNX Runtime on the CPU when None.
        precision: The precision that is asked for; any when None.
        providers: Execution providers of the installed ONNX Runtime; not judged when None.
        trusted_keys: As `Bundle.open` takes them.
        shared_ok: A private bundle that other accounts can read is a warning.

    Returns:
        Nothing when it can run.
    """
    try:
        bundle = Bundle.described(path, role, trusted_keys=trusted_keys)
    except HidemiaError as error:  # nothing else can be believed
        return [fail("manifest", str(error))]
    found: list[Mismatch] = []
    for graph in bundle.manifest.graphs:
        found += _refusal("file", partial(bundle.read, graph))
    if not found:
        shared = [*_refusal("permissions", bundle.check_unshared)]
        found += [Mismatch(grade="warn", kind=item.kind, text=item.text) for item in shared] if shared_ok else shared
    built: dict[str, Receipt] = {}
    for file in sorted((path / PLANS).glob(f"*/{receipts.FILE_NAME}")):
        found += _receipt(file, built)
    found += explain(
        bundle.manifest,
        environment,
        settings=settings,
        precision=precision,
        providers=providers,
        receipts=built,
        folder=path,
    )
    return found


def check_plan(folder: Path, plan: Plan) -> bytes:
    """Read a plan once, and return these very bytes if they are those of its receipt.

    Args:
        folder: Where the plan and its receipt lie.
        plan: What the receipt says of it.

    Raises:
        BundleError: The file is missing, cut short, or has another SHA-256.
    """
    file = folder / plan.path
    mend = "build it again: hidemia build"
    try:
        data = folders.read(folder, file, plan.size_bytes)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{file}: expected a plan, got {error.strerror}; {mend}") from None
    if len(data) != plan.size_bytes:
        raise BundleError(
            f"{file}: expected {plan.size_bytes} bytes, got {file.stat().st_size}; "
            f"the plan was changed or cut short: {mend}"
        )
    got = hashlib.sha256(data).hexdigest()
    if got != plan.sha256:
        raise BundleError(
            f"{file}: expected SHA-256 {plan.sha256[:16]}..., got {got[:16]}...; "
            f"the plan was changed or damaged: {mend}"
        )
    return data


def _receipt(file: Path, built: dict[str, Receipt]) -> Iterator[Mismatch]:
    """What is wrong with a folder of plans; its receipt goes into `built` when it can be read."""
    folder = file.parent
    try:
        receipt = receipts.load(folders.read(folder, file, _MAX_RECEIPT_BYTES), str(file))
    except BundleError as error:
        yield fail("plan", str(error))
        return
    built[str(folder)] = receipt
    for plan in receipt.plans:
        yield from _refusal("plan", partial(check_plan, folder, plan))
    files = [folder / plan.path for plan in receipt.plans if (folder / plan.path).exists()]
    guarded = [folder.parent, folder, file, *files]
    yield from _refusal("permissions", partial(permissions.check_unwritable, guarded))


def _refusal(kind: str, check: Callable[[], object]) -> Iterator[Mismatch]:
    try:
        check()
    except BundleError as error:
        yield fail(kind, str(error))
