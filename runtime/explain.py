"""Where may this run? Every mismatch of a bundle and a machine, in plain words, before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.environment import ONNXRUNTIMES, TENSORRTS, Environment
from hidemia.runtime.manifest import VERBS, Graph, Manifest, Precision
from hidemia.runtime.mismatch import NEWER_DRIVER, Mismatch, fail, numbers
from hidemia.runtime.onnx_engine import PROVIDERS
from hidemia.runtime.plan_fit import explain_plan
from hidemia.runtime.receipt import Receipt

__all__ = ["explain"]

PACKAGES = {"onnxruntime": ONNXRUNTIMES, "openvino": ("openvino",), "tensorrt": TENSORRTS}
"""Packages of which a backend needs one."""

_EXTRAS = {"onnxruntime": "cpu", "openvino": "openvino", "tensorrt": "tensorrt"}

_READS = {"onnxruntime": ((1, 20), 21, 10), "tensorrt": ((8, 6), 17, 8)}
"""Backend -> its oldest version that is supported, with the newest opset and IR version that it reads."""


def explain(
    manifest: Manifest,
    environment: Environment,
    *,
    settings: EngineSettings | None = None,
    precision: Precision | None = None,
    providers: Iterable[str] | None = None,
    receipts: Mapping[str, Receipt] | None = None,
    folder: str | Path = "DIR",
) -> list[Mismatch]:
    """Everything that keeps a bundle from running on a machine with an engine, without loading anything.

    Args:
        manifest: The bundle's.
        environment: The machine.
        settings: The engine that is asked for; ONNX Runtime on the CPU when None.
        precision: The precision that is asked for; any when None.
        providers: Execution providers of the installed ONNX Runtime; not judged when None.
        receipts: Path of each receipt beside the bundle -> the receipt; only TensorRT runs plans.
        folder: The bundle's, for the commands that mend something.

    Returns:
        Nothing when it can run.
    """
    settings = settings or EngineSettings()
    backend: str = settings.backend
    found = [*_engine(environment, backend)]
    if settings.device != "cpu" and backend != "openvino":
        found += _accelerator(environment)
    if backend == "onnxruntime" and providers is not None:
        found += _provider(list(providers), settings.device)
    graphs = []
    for verb in VERBS[manifest.role]:
        offered = [graph for graph in manifest.graphs if graph.verb == verb]
        fitting = [graph for graph in offered if graph.runs_on(settings.reads) and precision in (None, graph.precision)]
        # As they are loaded: one precision, the manifest's first unless another one is asked for.
        graphs += [graph for graph in fitting if graph.precision == fitting[0].precision]
        if not fitting:
            names = sorted({f"{graph.precision} on {'/'.join(graph.backends)}" for graph in offered})
            found.append(
                fail(
                    "graph",
                    f"{manifest.name}: expected a graph for {verb}, {precision or 'any precision'} on "
                    f"{settings.reads}, got {', '.join(names)}; ask for one of these or export the bundle again",
                )
            )
    for graph in graphs:
        found += _opset(graph, backend, environment)
    if backend == "tensorrt":
        for graph in graphs:
            found += _plans(graph, environment, receipts or {}, f"hidemia build --{manifest.role} {folder}")
    return found


def _plans(graph: Graph, environment: Environment, receipts: Mapping[str, Receipt], build: str) -> list[Mismatch]:
    """What one of the plans of a graph that can run is warned of; without such a one, what each has against it."""
    mend = f"{build} --precision {graph.precision}"
    against = []
    for place, receipt in receipts.items():
        for plan in receipt.plans:
            if plan.onnx_path != graph.path:
                continue
            found = explain_plan(receipt, plan, environment, mend=mend)
            if plan.onnx_sha256 != graph.sha256:
                found.append(
                    fail(
                        "plan",
                        f"{plan.path}: expected a plan of {graph.path} {graph.sha256[:16]}..., "
                        f"got one of {plan.onnx_sha256[:16]}...; {mend}",
                    )
                )
            if not any(item.grade == "FAIL" for item in found):
                return found
            against += [Mismatch(grade=item.grade, kind=item.kind, text=f"{place}: {item.text}") for item in found]
    return against or [fail("plan", f"{graph.path}: expected a TensorRT plan for this machine, got none; {mend}")]


def _engine(environment: Environment, backend: str) -> Iterator[Mismatch]:
    installed = [name for name in PACKAGES[backend] if name in environment.engines]
    if not installed and not (backend == "tensorrt" and environment.tensorrt):
        yield fail("engine", f"engine: expected {backend}, got no such package; {_install(backend)}")
    together = [f"{name} {environment.engines[name]}" for name in ONNXRUNTIMES if name in environment.engines]
    if backend == "onnxruntime" and len(together) > 1:
        yield fail("engine", f"{' and '.join(together)} overwrite each other: uninstall all of them, then install one")


def _accelerator(environment: Environment) -> Iterator[Mismatch]:
    if environment.gpu is None:
        yield fail("gpu", f"gpu: expected an NVIDIA GPU that CUDA can use, got none; {NEWER_DRIVER}")


def _provider(offered: list[str], device: str) -> Iterator[Mismatch]:
    provider = PROVIDERS.get(device)
    if provider is not None and provider not in offered:
        extra = "cpu" if device == "cpu" else "gpu"
        yield fail(
            "provider",
            f"onnxruntime: expected {provider}, got {', '.join(offered) or 'none'}; "
            f"pip uninstall every onnxruntime, then pip install 'hidemia[{extra}]'",
        )


def _opset(graph: Graph, backend: str, environment: Environment) -> Iterator[Mismatch]:
    version = next((environment.engines[name] for name in PACKAGES[backend] if name in environment.engines), None)
    if version is None or backend not in _READS:
        return
    oldest, opset, ir_version = _READS[backend]
    for what, needed, reads in (("opset", graph.opset, opset), ("IR version", graph.ir_version, ir_version)):
        if needed > reads:
            yield Mismatch(
                grade="warn" if numbers(version)[:2] > list(oldest) else "FAIL",  # a newer engine may read it
                kind="opset",
                text=f"{graph.path}: expected {what} {reads} or older, which {backend} reads since "
                f"{'.'.join(map(str, oldest))}, got {needed} with {backend} {version}; "
                f"update {backend}, or export the bundle again",
            )


def _install(backend: str) -> str:
    return f"pip install 'hidemia[{_EXTRAS[backend]}]'"
