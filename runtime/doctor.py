"""The verb `doctor`: is this machine, and are these bundles, fit for work?"""

from __future__ import annotations

import platform
import stat
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, TypeAlias

from hidemia.runtime import defaults
from hidemia.runtime.arguments import Parser, say
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.client import Client
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.manifest import Role
from hidemia.runtime.server import Server

__all__ = ["doctor"]

Finding: TypeAlias = tuple[Literal["ok", "warn", "FAIL"], str]

_NEEDED = ("numpy", "opencv-python-headless", "msgspec", "httpx")
_SERVER = ("starlette", "uvicorn", "prometheus-client")
# All of them install the one import package onnxruntime; the last one installed wins, file by file.
_ENGINES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")


def doctor(arguments: list[str]) -> int:
    """Run `hidemia doctor`: one line a finding, 1 when one of them is a failure."""
    parser = Parser("doctor", "Check this environment and bundles.")
    parser.add_argument("--client", type=Path, metavar="DIR", help="client bundle (default: the packaged one, if any)")
    parser.add_argument("--server", type=Path, metavar="DIR", help="server bundle (default: the packaged one, if any)")
    options = parser.parse_args(arguments)
    findings = [*_environment()]
    findings += _bundle("client", options.client)
    findings += _bundle("server", options.server)
    for grade, text in findings:
        say(f"{grade:4}  {' '.join(text.split())}")
    return 1 if any(grade == "FAIL" for grade, _ in findings) else 0


def _environment() -> Iterator[Finding]:
    yield (
        "ok",
        f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}",
    )
    for name in _NEEDED:
        found = _version(name)
        if found is None and name == "opencv-python-headless":  # other builds of it serve as well
            found = getattr(import_module("cv2"), "__version__", None)
        yield ("ok", f"{name} {found}") if found else ("FAIL", f"{name} is missing: install hidemia again")
    engines = [f"{name} {found}" for name in _ENGINES if (found := _version(name))]
    if len(engines) > 1:
        yield "FAIL", f"{' and '.join(engines)} overwrite each other: uninstall all of them, then install one"
    elif engines:
        yield _onnxruntime(engines[0])
    else:
        yield "FAIL", "no inference engine: pip install 'hidemia[cpu]'"
    missing = [name for name in _SERVER if _version(name) is None]
    if missing:
        yield "warn", f"serve lacks {', '.join(missing)}: pip install 'hidemia[server]'"
    else:
        yield "ok", ", ".join(f"{name} {_version(name)}" for name in _SERVER)


def _onnxruntime(name: str) -> Finding:
    try:
        providers = import_module("onnxruntime").get_available_providers()
    except Exception as error:  # a broken binary fails in ways of its own
        return "FAIL", f"{name} cannot be imported: {error}: install it again"
    return "ok", f"{name} with {', '.join(providers)}"


def _bundle(role: Role, given: Path | None) -> Iterator[Finding]:
    path = given or defaults.bundle(role)
    if given is None and not path.is_dir():
        return
    try:
        bundle = Bundle.open(path, role)
        bundle.verify()
        with Client.load(path) if role == "client" else Server.load(path):
            pass
    except HidemiaError as error:
        yield "FAIL", str(error)
        return
    manifest = bundle.manifest
    files = ", ".join(f"{graph.path} {graph.precision_achieved}" for graph in manifest.graphs)
    yield "ok", f"{role} bundle {manifest.name} ({manifest.task}), pair {manifest.etag}: {files}"
    if manifest.public_key:
        yield (
            "warn",
            f"{role} bundle {manifest.name}: its weights are published: anyone can recover",
        )
    elif role == "client" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield "warn", f"{path}: whoever reads it can recover: chmod -R go= {path}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
