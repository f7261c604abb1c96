"""Whether an export would write what is there already: then it does nothing.

The key covers all that decides the result: weights, calibration, the code that exports, settings, the images of the
gate, and the environment in which parity was proven. It lies in ``measured.json`` of each bundle, outside the
manifest, which is the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path

from hidemia.runtime.bundle import Bundle
from hidemia.runtime.errors import BundleError
from hidemia.runtime.manifest import Role
from hidemia.training.reading import Row

LAYERS = ("export", "runtime", "training")
PACKAGES = ("torch", "numpy", "onnx", "onnxruntime", "openvino", "opencv-python-headless")
MEASURED = "measured.json"


def export_key(weights: Path, settings: Mapping[str, object], images: Sequence[Sequence[Row]] = ()) -> str:
    """The SHA-256 of what an export depends on, in hexadecimal.

    Args:
        weights: the model's folder; all its files count but the card and the figures, of the plain network too, which
            change nothing.
        settings: of the command, as JSON holds them.
        images: rows of the data sets of the gate, which stand for the files that they name.
    """
    parts: dict[str, object] = {
        "weights": {
            file.name: _sha256(file)
            for file in sorted(weights.iterdir())
            if file.suffix in (".safetensors", ".json", ".key") and not file.name.startswith(("figures", "plain"))
        },
        "code": code_sha256(LAYERS),
        "settings": dict(settings),
        "images": images,
        "environment": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_fresh(out: Path, key: str) -> bool:
    """Whether ``out`` holds a client and a server bundle of this key, every file undamaged."""
    roles: tuple[Role, ...] = ("client", "server")
    return all(_is_fresh(out / role, role, key) for role in roles)


def _is_fresh(bundle: Path, role: Role, key: str) -> bool:
    try:
        measured = json.loads((bundle / MEASURED).read_text())
        if not isinstance(measured, dict) or measured.get("key") != key:
            return False
        Bundle.open(bundle, role).verify()
    except (OSError, ValueError, BundleError):
        return False
    return True


def code_sha256(layers: Iterable[str]) -> str:
    """The SHA-256 of every module of some layers: the version of the code, also where there is no git.

    Args:
        layers: such as ``export``.
    """
    digest = hashlib.sha256()
    for layer in layers:
        folder = Path(str(import_module(f"hidemia.{layer}").__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{layer}/{file.relative_to(folder).as_posix()}".encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
