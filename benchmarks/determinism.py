"""How far the same input gives the same output: other processes, thread counts, batches and engines.

``python -m hidemia.benchmarks.determinism`` runs the packaged bundles on eight simulated scans and photos and prints
the table of ``docs/determinism.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import defaults, png
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.demo import landscape, scan
from hidemia.runtime.engine import DEVICES, EngineSettings, open_engine
from hidemia.runtime.errors import BundleError, EngineError
from hidemia.training.errors import one_line

PROG = "python -m hidemia.benchmarks.determinism"
COUNT = 8
VERBS = ("hide", "analyze", "recover")

Images = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Difference:
    """Of one verb's outputs from the reference's.

    Attributes:
        count: Values that differ.
        total: All values.
        most: Largest difference: levels of 255 for photos, probability for recover.
        masked: Pixels on the other side of the threshold; recover only.
    """

    count: int
    total: int
    most: float
    masked: int | None


def inputs() -> Images:
    """Eight scans and photos, uint8 (8, 224, 224, 3), the same on every machine."""
    scans = [np.repeat(scan.simulate(seed).image[..., None], 3, axis=2) for seed in range(COUNT)]
    return {"secret": np.stack(scans), "cover": np.stack([landscape.photo(seed) for seed in range(COUNT)])}


def outputs(verb: str, given: Images, backend: str, threads: int, batch: int) -> NDArray[Any]:
    """What a verb makes of the images, `batch` at a time.

    Raises:
        BundleError: The packaged bundle has no graph for it.
        EngineError: The engine is not installed.
    """
    bundle = Bundle.open(
        defaults.bundle("server" if verb == "analyze" else "client"), "server" if verb == "analyze" else "client"
    )
    settings = EngineSettings(backend=backend, threads=threads)  # type: ignore[arg-type]
    graph = bundle.graph(verb, batch=batch, backend=backend)  # type: ignore[arg-type]
    with open_engine(bundle, graph, settings) as engine:
        parts = []
        for start in range(0, COUNT, batch):
            fed = {
                tensor.name: np.ascontiguousarray(given[tensor.name][start : start + batch]) for tensor in graph.inputs
            }
            parts.append(engine.run(fed)[graph.outputs[0].name])
    return np.concatenate(parts)


def trip(given: Images) -> Images:
    """The reference: ONNX Runtime, one thread, one image at a time."""
    made = dict(given)
    made["stego"] = made["sent"] = outputs("hide", made, "onnxruntime", 1, 1)
    made["reply"] = outputs("analyze", made, "onnxruntime", 1, 1)
    made["probability"] = outputs("recover", made, "onnxruntime", 1, 1)
    return made


def digest(made: Images) -> str:
    """One hash of everything: pixels, PNG bytes and probabilities."""
    files = b"".join(png.encode(image) for name in ("stego", "reply") for image in made[name])
    return hashlib.sha256(files + made["probability"].tobytes()).hexdigest()


def compare(got: NDArray[Any], reference: NDArray[Any], threshold: float | None) -> Difference:
    """How far a verb's outputs are from the reference's."""
    apart = np.abs(got.astype(np.float64) - reference.astype(np.float64))
    masked = None if threshold is None else int(np.sum((got >= threshold) != (reference >= threshold)))
    return Difference(int(np.sum(apart > 0)), apart.size, float(apart.max()), masked)


def rows(made: Images) -> Iterator[tuple[str, list[str]]]:
    """Each setting with a cell for each verb."""
    threshold = Bundle.open(defaults.bundle("client"), "client").manifest.mask_threshold
    result = dict(zip(VERBS, ("stego", "reply", "probability"), strict=True))
    for backend in (name for name, devices in DEVICES.items() if "cpu" in devices):
        for threads, batch in ((1, 1), (2, 1), (4, 1), (1, COUNT), (2, COUNT)):
            cells = []
            for verb in VERBS:
                try:
                    got = outputs(verb, made, backend, threads, batch)
                except (BundleError, EngineError):
                    cells.append("not in this bundle or environment")
                    continue
                found = compare(got, made[result[verb]], threshold if verb == "recover" else None)
                cells.append(cell(found))
            yield f"{backend}, {threads} thread{'s' * (threads > 1)}, batch {batch}", cells


def cell(found: Difference) -> str:
    """A difference in words."""
    if not found.count:
        return "the same bytes"
    text = f"{found.count:,} of {found.total:,} values by up to {found.most:.1g}"
    return text if found.masked is None else f"{text}, {found.masked} mask pixels"


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Run the packaged bundles in other settings and print how far they differ; 1 when another process does."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--digest", action="store_true", help="print one hash of a process's results, nothing else")
    options = parser.parse_args(arguments)
    made = trip(inputs())
    if options.digest:
        sys.stdout.write(digest(made) + "\n")
        return 0
    command = (sys.executable, "-m", "hidemia.benchmarks.determinism", "--digest")
    other = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    same = other == digest(made)
    sys.stdout.write("| setting | hide | analyze | recover |\n|---|---|---|---|\n")
    words = ["the same bytes" if same else "OTHER BYTES"] * 3
    for name, cells in [("another process, the same settings", words), *rows(made)]:
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
