"""The lock and its SBOM: each version has hashes, the runtime works with nothing else, nothing says whence it came."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

FOLDER = Path(__file__).parents[1] / "requirements"

# A device that hides and recovers and a server that answers, where nothing is installed but what is locked.
PRODUCT = """
import sys
from importlib.abc import MetaPathFinder
hidden = set(sys.argv[1:])
class NotInstalled(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
import numpy as np
from hidemia.runtime import Client, Server, app, defaults, serving, trip, transport
client, server = Client.load(defaults.bundle("client")), Server.load(defaults.bundle("server"))
noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
sent = client.hide(noise, noise[::-1])
client.probability(server.analyze(sent), sent=sent)
app.PhotoService(server)
transport.Transport("http://127.0.0.1:9").close()
print(*{name.partition(".")[0] for name in sys.modules})
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def lock() -> dict[tuple[str, str], tuple[str, int]]:
    """(name, version) -> environment marker, number of hashes."""
    text = (FOLDER / "runtime.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = re.match(r"([\w.-]+)==(\S+)\s*(?:;\s*(.*?))?\s*(--hash=.*)?$", line)
        assert match, line
        name, version, marker, hashes = match.groups()
        found[canonical(name), version] = (marker or "", (hashes or "").count("--hash=sha256:"))
    return found


@pytest.fixture(scope="module")
def bom() -> dict:
    return json.loads((FOLDER / "sbom.json").read_text(encoding="utf-8"))


def test_every_version_has_hashes(lock):
    assert all(hashes for _, hashes in lock.values())
    assert not [line for line in (FOLDER / "runtime.txt").read_text().splitlines() if "://" in line or "index" in line]


def test_the_runtime_works_with_what_is_locked_alone(lock):
    locked = {name for name, _ in lock} | {"hidemia"}
    owners = {name: {canonical(owner) for owner in found} for name, found in packages_distributions().items()}
    hidden = [name for name, found in owners.items() if not found & locked and name not in sys.stdlib_module_names]
    assert {"torch", "onnx"} <= set(hidden)
    command = [sys.executable, "-c", PRODUCT, *hidden]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    used = set.union(*(owners[name] for name in done.stdout.split() if name in owners))
    assert used >= {"httpx", "msgspec", "numpy", "onnxruntime", "opencv-python-headless", "starlette", "uvicorn"}


def test_the_sbom_is_valid_and_lists_the_lock(bom, lock):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
    listed = {(canonical(part["name"]), part["version"]) for part in bom["components"]}
    assert listed <= set(lock)
    assert {name for name, _ in listed} == {name for (name, _), (marker, _) in lock.items() if "< '3.11'" not in marker}
    assert bom["metadata"]["component"]["name"] == "hidemia"
    assert all(part["licenses"] for part in bom["components"])


def test_the_sbom_names_no_machine(bom):
    text = json.dumps(bom)
    assert re.findall(r"\w+://[^/\"]*", text) == ["http://cyclonedx.org"]
    assert not re.search(r"/(home|root|tmp|usr|work)\b", text)
