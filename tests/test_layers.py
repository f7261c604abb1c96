"""The order of the layers: each imports only what is lower, and the runtime stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Layer -> the layers it may import beside itself.
ALLOWED = {
    "runtime": set(),
    "training": set(),
    "export": {"runtime", "training"},
    "benchmarks": {"runtime", "training", "export"},
}


def imported(file: Path) -> set[str]:
    """Every module a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", ALLOWED)
def test_each_layer_imports_only_what_is_lower(layer):
    wrong = []
    for file in sorted((ROOT / layer).rglob("*.py")):
        for name in imported(file):
            parts = name.split(".")
            if parts[0] == "hidemia" and parts[1] not in {layer, *ALLOWED[layer]}:
                wrong.append(f"{file.relative_to(ROOT)} imports {name}")
            if parts[0] in ALLOWED:
                wrong.append(f"{file.relative_to(ROOT)} imports {name} without hidemia")
    assert not wrong


@pytest.mark.parametrize("package", ["torch", "onnx", "monai", "lightning", "safetensors"])
def test_the_runtime_never_imports(package):
    files = (ROOT / "runtime").rglob("*.py")
    assert not [file for file in files if package in {name.split(".")[0] for name in imported(file)}]


def test_importing_the_runtime_loads_no_engine_and_no_server():
    code = (
        "import sys, hidemia.runtime\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'openvino', 'starlette', 'uvicorn', 'httpx',\n"
        "         'pydicom', 'highdicom', 'asyncio', 'hidemia.runtime.dicom'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names():
    import hidemia.runtime

    assert hidemia.runtime.__all__ == sorted(hidemia.runtime.__all__)
    for name in hidemia.runtime.__all__:
        assert getattr(hidemia.runtime, name).__module__.startswith("hidemia.runtime.")
