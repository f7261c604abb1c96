"""The verb `doctor`: is this machine, and are these bundles, fit for work?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from hidemia.runtime import defaults, environment, fallback
from hidemia.runtime.arguments import Parser, engine_settings, say
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.client import Client
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.environment import ONNXRUNTIMES, Environment
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.examine import examine
from hidemia.runtime.manifest import Role
from hidemia.runtime.onnx_engine import PROVIDERS
from hidemia.runtime.server import Server

__all__ = ["Finding", "doctor"]

_NEEDED = ("numpy", "opencv-python-headless", "msgspec", "httpx")
_SERVER = ("starlette", "uvicorn", "prometheus-client")


class Finding(Struct, frozen=True):
    """One line of the report.

    Attributes:
        grade: `FAIL` is what makes the exit code 1.
        kind: What it is about, in one word for machines.
        text: One line.
    """

    grade: Literal["ok", "warn", "FAIL"]
    kind: str
    text: str


def doctor(arguments: list[str]) -> int:
    """Run `hidemia doctor`: one line a finding, 1 when one of them is a failure."""
    parser = Parser(
        "doctor", "List everything that keeps bundles from running on this machine; without any, the packaged ones."
    )
    parser.add_argument("--client", type=Path, metavar="DIR", help="client bundle")
    parser.add_argument("--server", type=Path, metavar="DIR", help="server bundle")
    parser.add_argument("--json", action="store_true", help="one JSON document: environment, findings, healthy")
    parser.add_argument("--shared-ok", action="store_true", help="only warn of a private bundle that others can read")
    parser.add_signature()
    parser.add_engine()
    options = parser.parse_args(arguments)
    here = environment.gather()
    findings = [*_machine(here), *_packages()]
    providers, told = _onnxruntime(here, engine_settings(options))
    findings += told
    findings += _tensorrt(here)
    for role, path in _bundles(options.client, options.server):
        findings += _bundle(role, path, here, providers, options)
    # One line a finding, and what both bundles lack once.
    findings = [*dict.fromkeys(Finding(each.grade, each.kind, " ".join(each.text.split())) for each in findings)]
    healthy = not any(found.grade == "FAIL" for found in findings)
    if options.json:
        say(json.dumps(_document(here, findings, healthy=healthy), indent=2, sort_keys=True))
    else:
        for found in findings:
            say(f"{found.grade:4}  {found.text}")
    return 0 if healthy else 1


def _document(here: Environment, findings: list[Finding], *, healthy: bool) -> dict[str, Any]:
    return {
        "hidemia": environment.package_version("hidemia"),
        "environment": msgspec.to_builtins(here),
        "findings": msgspec.to_builtins(findings),
        "healthy": healthy,
    }


def _machine(here: Environment) -> Iterator[Finding]:
    yield Finding("ok", "python", f"python {here.python} on {here.os} {here.architecture}, {sys.executable}")
    yield Finding("ok", "cpu", f"{here.cpu}, {here.cores} usable cores")
    for gpu in here.gpus:
        yield Finding("ok", "gpu", f"{gpu.name}, compute capability {gpu.compute_capability or 'unknown'}")
    if here.gpus or here.driver:
        cuda = f"speaks CUDA {here.cuda_driver or 'unknown'}, CUDA runtime {here.cuda_runtime or 'none'}"
        yield Finding("ok", "driver", f"NVIDIA driver {here.driver or 'unknown'}, {cuda}")
    if here.driver and not here.gpus:
        yield Finding("warn", "gpu", "the NVIDIA driver is there, but no GPU answers: nvidia-smi says why")
    if here.l4t:
        jetpack = f" (JetPack {here.jetpack})" if here.jetpack else ""
        yield Finding("ok", "l4t", f"Jetson Linux {here.l4t}{jetpack}, {here.board or 'unknown board'}")


def _packages() -> Iterator[Finding]:
    for name in _NEEDED:
        found = environment.package_version(name)
        if found is None and name == "opencv-python-headless":  # other builds of it serve as well
            found = getattr(import_module("cv2"), "__version__", None)
        if found:
            yield Finding("ok", "package", f"{name} {found}")
        else:
            yield Finding("FAIL", "package", f"{name} is missing: install hidemia again")
    missing = [name for name in _SERVER if environment.package_version(name) is None]
    if missing:
        yield Finding("warn", "package", f"serve lacks {', '.join(missing)}: pip install 'hidemia[server]'")
    else:
        yield Finding("ok", "package", ", ".join(f"{name} {environment.package_version(name)}" for name in _SERVER))


def _onnxruntime(here: Environment, settings: EngineSettings) -> tuple[list[str], list[Finding]]:
    """Its providers, and whether sessions really land on them: a failure for the one that is asked for."""
    wanted = settings.backend == "onnxruntime"
    installed = [f"{name} {here.engines[name]}" for name in ONNXRUNTIMES if name in here.engines]
    if len(installed) > 1:
        text = f"{' and '.join(installed)} overwrite each other: uninstall all of them, then install one"
        return [], [Finding("FAIL", "engine", text)]
    if not installed:
        other = ", or pass --engine openvino" if "openvino" in here.engines else ""
        missing = Finding("FAIL", "engine", f"no ONNX Runtime: pip install 'hidemia[cpu]'{other}")
        return [], [missing] if wanted else []
    try:
        providers = environment.providers()
    except Exception as error:  # a broken binary fails in ways of its own
        return [], [Finding("FAIL", "engine", f"{installed[0]} cannot be imported: {error}: install it again")]
    findings = [Finding("ok", "engine", f"{installed[0]} with {', '.join(providers)}")]
    for provider in (provider for provider in PROVIDERS.values() if provider in providers):
        landed = fallback.lands_on(provider)
        asked = wanted and provider == PROVIDERS[settings.device]
        if landed != provider:
            text = (
                f"onnxruntime lists {provider}, but a session that asks for it gets {landed}: "
                "install the libraries it needs, of the versions that onnxruntime names"
            )
            findings.append(Finding("FAIL" if asked else "warn", "provider", text))
    return providers, findings


def _tensorrt(here: Environment) -> Iterator[Finding]:
    if here.tensorrt:
        yield Finding("ok", "tensorrt", f"tensorrt {here.tensorrt}")
    if len(here.nvinfer_loaded) > 1:
        text = f"one process has loaded {' and '.join(here.nvinfer_loaded)}: uninstall all but one TensorRT"
        yield Finding("FAIL", "tensorrt", text)
    if len(here.nvinfer_found) > 1:
        text = f"several TensorRT: {', '.join(here.nvinfer_found)}: a plan of one does not load in another; keep one"
        yield Finding("warn", "tensorrt", text)
    elif here.nvinfer_found:
        yield Finding("ok", "tensorrt", here.nvinfer_found[0])


def _bundles(client: Path | None, server: Path | None) -> list[tuple[Role, Path]]:
    """Those that were given; where none was, the packaged ones."""
    given: list[tuple[Role, Path | None]] = [("client", client), ("server", server)]
    if client is None and server is None:
        given = [(role, path) for role, _ in given if (path := defaults.bundle(role)).is_dir()]
    return [(role, path) for role, path in given if path is not None]


def _bundle(
    role: Role, path: Path, here: Environment, providers: list[str], options: argparse.Namespace
) -> Iterator[Finding]:
    trusted = options.require_signature
    settings = engine_settings(options)
    found = examine(
        path, role, here, settings=settings, precision=options.precision, providers=providers or None,
        trusted_keys=trusted, shared_ok=options.shared_ok,
    )  # fmt: skip
    for item in found:
        yield Finding(item.grade, item.kind, item.text)
    if any(item.grade == "FAIL" for item in found):
        return
    try:
        bundle = Bundle.open(path, role, trusted_keys=trusted)
        # What fits by its description may still not run: the session itself says where it landed.
        with (
            Client.load(path, precision=options.precision, engine=settings, shared_ok=True)
            if role == "client"
            else Server.load(path, precision=options.precision, engine=settings, shared_ok=True)
        ):
            pass
    except HidemiaError as error:
        yield Finding("FAIL", "bundle", str(error))
        return
    manifest = bundle.manifest
    files = ", ".join(f"{graph.path} {graph.precision_achieved}" for graph in manifest.graphs)
    signed = ", signed by a trusted key" if trusted else ""
    text = f"{role} bundle {manifest.name} ({manifest.task}), pair {manifest.etag}{signed}: {files}"
    yield Finding("ok", "bundle", text)
    if manifest.public_key:
        text = f"{role} bundle {manifest.name}: its weights are published: anyone can recover"
        yield Finding("warn", "bundle", text)
