"""Whether a TensorRT plan can run on a machine, by the receipt of its build."""

from __future__ import annotations

from collections.abc import Iterator

from hidemia.runtime import nvidia
from hidemia.runtime.environment import Environment
from hidemia.runtime.mismatch import NEWER_DRIVER, Mismatch, fail, numbers
from hidemia.runtime.receipt import Plan, Receipt

__all__ = ["explain_plan"]


def explain_plan(receipt: Receipt, plan: Plan, environment: Environment, *, mend: str) -> list[Mismatch]:
    """Everything that keeps a plan from running on a machine.

    A plan runs with the very TensorRT and on the very GPU it was built for. Its compatibility level widens the GPU to
    the same compute capability, or to Ampere and newer; built version-compatible, it also runs with a later TensorRT
    of the same major. On a Jetson, the major and minor of Jetson Linux must agree.

    Args:
        receipt: Where it was built.
        plan: One of the receipt's plans.
        environment: Where it is to run.
        mend: The command that builds it anew.
    """
    where = plan.path
    found = []
    if environment.tensorrt is None:
        found.append(
            fail(
                "tensorrt", f"{where}: expected TensorRT {receipt.tensorrt}, got none; pip install 'hidemia[tensorrt]'"
            )
        )
    elif not _serves_version(receipt.tensorrt, environment.tensorrt, later=plan.version_compatible):
        later = " or later of this major" if plan.version_compatible else ""
        found.append(
            fail(
                "tensorrt", f"{where}: expected TensorRT {receipt.tensorrt}{later}, got {environment.tensorrt}; {mend}"
            )
        )
    if receipt.architecture != environment.architecture:
        found.append(
            fail(
                "architecture",
                f"{where}: expected a {receipt.architecture} machine, got {environment.architecture}; {mend}",
            )
        )
    if numbers(receipt.l4t)[:2] != numbers(environment.l4t)[:2]:
        found.append(
            fail(
                "l4t",
                f"{where}: expected {_l4t(receipt.l4t)}, got {_l4t(environment.l4t)}; {mend}",
            )
        )
    found += _gpu(receipt, plan, environment, mend)
    found += _cuda(receipt, where, environment, mend)
    return found


def _gpu(receipt: Receipt, plan: Plan, environment: Environment, mend: str) -> Iterator[Mismatch]:
    gpu = environment.gpu
    if gpu is None:
        yield fail("gpu", f"{plan.path}: expected {receipt.gpu}, got no GPU; {NEWER_DRIVER}")
        return
    capability = gpu.compute_capability or "unknown"
    level = plan.hardware_compatibility
    if level == "none" and gpu.name != receipt.gpu:
        yield fail("gpu", f"{plan.path}: expected {receipt.gpu}, got {gpu.name}; {mend}")
    if level == "ampere_plus":
        if numbers(gpu.compute_capability)[:1] < [8]:
            yield fail(
                "compute_capability",
                f"{plan.path}: expected compute capability 8.0 or newer, got {capability} ({gpu.name}); {mend}",
            )
    elif gpu.compute_capability != receipt.compute_capability:
        yield fail(
            "compute_capability",
            f"{plan.path}: expected compute capability {receipt.compute_capability}, "
            f"got {capability} ({gpu.name}); {mend}",
        )


def _cuda(receipt: Receipt, where: str, environment: Environment, mend: str) -> Iterator[Mismatch]:
    """A driver speaks every older CUDA. Which runtime library TensorRT will take is only known once it is loaded."""
    built, runtime, speaks = (numbers(v)[:1] for v in (receipt.cuda, environment.cuda_runtime, environment.cuda_driver))
    if built and speaks and speaks < built:
        yield fail(
            "cuda",
            f"{where}: expected a driver for CUDA {built[0]}, got one for {environment.cuda_driver}; {NEWER_DRIVER}",
        )
    if built and runtime and runtime != built:
        yield Mismatch(
            grade="warn",
            kind="cuda",
            text=f"{where}: expected CUDA {built[0]}, got {environment.cuda_runtime}; if it does not load: {mend}",
        )
    if receipt.driver and environment.driver and numbers(environment.driver) < numbers(receipt.driver):
        yield Mismatch(
            grade="warn",
            kind="driver",
            text=f"{where}: expected driver {receipt.driver} or newer, as it was built with, "
            f"got {environment.driver}; {NEWER_DRIVER}",
        )


def _serves_version(built: str, running: str, *, later: bool) -> bool:
    """The same release; or a later one of the same major, the narrower of what NVIDIA's pages promise."""
    a, b = numbers(built), numbers(running)
    if later:
        return a[:1] == b[:1] and a <= b
    common = max(3, min(len(a), len(b)))  # the wheels name a fourth number that some builds leave out
    return a[:common] == b[:common]


def _l4t(release: str | None) -> str:
    if release is None:
        return "no Jetson"
    jetpack = nvidia.JETPACKS.get(release)
    return f"Jetson Linux {release}" + (f" (JetPack {jetpack})" if jetpack else "")
