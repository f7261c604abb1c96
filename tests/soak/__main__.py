"""Long runs against real server processes on loopback: `make soak`, or `python -m tests.soak --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tests.process import Process
from tests.runtime.conftest import SIZE, make_model
from tests.soak.fuzz import fuzz
from tests.soak.load import load
from tests.soak.pngs import Mutant, seed, unfilter
from tests.soak.report import markdown

from hidemia.runtime import ImageError, Server, defaults, png
from hidemia.runtime.engine import EngineSettings

CORES = 2
LOADED_QUEUE = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--only", choices=["fuzz", "load"], help="one half; the other's last figures are kept")
    parser.add_argument("--pngs", type=int, default=75_000)
    parser.add_argument("--requests", type=int, default=25_000)
    parser.add_argument("--manifests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--load-s", type=float, default=300.0)
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of soak.json and soak.md")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # the server inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    file = options.out / "soak.json"
    report: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    report |= {"command": "make soak", "machine": _machine()}
    if options.only != "load":
        report["fuzz"] = _fuzz(options)
        report["fuzz_packaged"] = _fuzz_packaged(options)
    if options.only != "fuzz":
        report |= _load(options)
    file.write_text(json.dumps(report, indent=2) + "\n")
    (options.out / "soak.md").write_text(markdown(report))
    failures = [f"{name}: {failure}" for name, part in report.items() for failure in _failures(part)]
    sys.stdout.write("".join(f"{line}\n" for line in failures) or "all holds\n")
    return 1 if failures else 0


def _failures(part: Any) -> list[str]:
    return part.get("failures", []) if isinstance(part, dict) else []


def _fuzz(options: argparse.Namespace) -> dict[str, Any]:
    """A model whose reply can be worked out from the pixels, which come from a decoder of our own."""

    def is_right(one: Mutant, reply: bytes) -> bool:
        got = png.decode(reply)
        if one.stream is None:
            return got.shape == (SIZE, SIZE, 3)
        sent = unfilter(one.stream, SIZE)
        return np.array_equal(got, sent // 4 * 4 + 3 * (sent % 2))

    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        return _fuzz_model(model.server, options, 1.0, is_right)


def _fuzz_packaged(options: argparse.Namespace) -> dict[str, Any]:
    def is_right(_: Mutant, reply: bytes) -> bool:
        try:
            return png.decode(reply).shape == (224, 224, 3)
        except ImageError:
            return False

    return _fuzz_model(defaults.bundle("server"), options, 0.05, is_right)


def _fuzz_model(bundle: Path, options: argparse.Namespace, share: float, is_right: Any) -> dict[str, Any]:
    manifest = (bundle / "manifest.json").read_bytes()
    size = json.loads(manifest)["image_size_px"]
    server = Process("--server", str(bundle), "--deadline", "60")
    try:
        counts = {name: int(share * getattr(options, name)) for name in ("pngs", "requests")}
        result = fuzz(
            server,
            size=size,
            **counts,
            readings=options.manifests,
            manifest=manifest,
            accepted_share=0.18,
            check=is_right,
        )
    finally:
        code, _ = server.stop()
    if code:
        result["failures"].append(f"the server ended with {code}")
    return result


def _load(options: argparse.Namespace) -> dict[str, Any]:
    photos = []
    with Server.load(defaults.bundle("server"), engine=EngineSettings(threads=CORES)) as analyzer:
        for number in range(8):
            sent = seed(number, analyzer.image_size_px).data
            photos.append((sent, png.encode(analyzer.analyze(png.decode(sent)))))
    parts = {}
    for name, queue, factor, share in (("load", 64, 1, 1.0), ("overload", LOADED_QUEUE, 4, 0.2)):
        server = Process("--queue-size", str(queue), "--threads", str(CORES))
        try:
            clients = factor * options.clients
            parts[name] = load(server, photos, clients=clients, seconds=share * options.load_s)
        finally:
            server.stop()
    return parts


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


if __name__ == "__main__":
    sys.exit(main())
