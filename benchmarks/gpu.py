"""``python -m hidemia.benchmarks.gpu``: TensorRT on this machine's GPU, built, verified, measured; one page says how it
went.

It needs the `tensorrt` extra and ONNX Runtime. With torch that sees the GPU, PyTorch and the card's own limits are
measured beside it. On a machine without a GPU there is nothing to check, which is said and is no success.
"""  # noqa: D205

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks import gpu_torch
from hidemia.benchmarks.gpu_times import Row, timed
from hidemia.export.build import build_bundle
from hidemia.export.plan import PlanSettings
from hidemia.runtime import Client, Server, defaults, plans, similarity, tensorrt_binding
from hidemia.runtime import environment as environments
from hidemia.runtime.arguments import Parser, positive, say, write
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.demo.landscape import photo
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.engine import EngineSettings, open_engine
from hidemia.runtime.errors import EngineError, HidemiaError
from hidemia.runtime.manifest import VERBS, Graph, Precision
from hidemia.runtime.photo import fit, load
from hidemia.runtime.tensorrt_engine import TensorrtEngine
from hidemia.runtime.veil import bare
from hidemia.training.errors import one_line

Image = NDArray[np.uint8]

PROG = "python -m hidemia.benchmarks.gpu"
CUDA = EngineSettings(backend="tensorrt", device="cuda")
ORT_CUDA = EngineSettings(device="cuda")

# Loss of PSNR against the cover in dB and least Dice of the masks, against FP32 in ONNX Runtime on the CPU.
LIMITS: dict[Precision, tuple[float, float]] = {"fp32": (0.1, 0.99), "fp16": (0.1, 0.99), "int8": (1.0, 0.9)}

PACKAGED = f"a bundle (default: that of the packaged model, {defaults.MODEL})"


@dataclass
class Verified:
    """One precision against FP32 in ONNX Runtime, over all pairs: means, and whether they are within `LIMITS`."""

    precision: Precision
    stego_lost_db: float
    reply_lost_db: float
    agreement: float

    @property
    def holds(self) -> bool:
        """Whether all three are within the limits of the precision."""
        lost, agreed = LIMITS[self.precision]
        return max(self.stego_lost_db, self.reply_lost_db) <= lost and self.agreement >= agreed


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Build, verify and measure: 0 when all holds, 1 when it does not or there is nothing to check."""
    parser = Parser("", "Check TensorRT on this machine's GPU and write a one-page verdict.")
    parser.prog = PROG  # a module, not a verb
    parser.add_argument("--client", type=Path, default=defaults.bundle("client"), metavar="DIR", help=PACKAGED)
    parser.add_argument("--server", type=Path, default=defaults.bundle("server"), metavar="DIR", help=PACKAGED)
    parser.add_argument("--out", type=Path, default=Path("build/check-gpu"), metavar="DIR", help="verdict.md goes here")
    parser.add_argument("--data", type=Path, help="real scans; with --covers. Otherwise simulated ones")
    parser.add_argument("--covers", type=Path, help="real photos; with --data")
    parser.add_argument("--images", type=positive, default=8, metavar="N", help="pairs to verify with (default: 8)")
    parser.add_argument(
        "--batches", type=_batches, default=[1, 8, 32], metavar="1,8,32", help="sizes to measure (default: 1,8,32)"
    )
    parser.add_argument("--runs", type=positive, default=100, metavar="N", help="of each time (default: 100)")
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.covers is None):
        parser.error("--data and --covers go together")
    try:
        tensorrt_binding.load()
        plans.environment_name(environments.gather())
    except EngineError as error:
        say(f"{PROG}: nothing to check on this machine: {error}")
        return 1
    bundles = {role: Bundle.open(getattr(options, role), role) for role in VERBS}
    size = bundles["client"].manifest.image_size_px
    pairs = _pairs(options.data, options.covers, options.images, size)
    verified = [verify(bundles, precision, pairs, options.out) for precision in _precisions(bundles)]
    rows = [row for batch in options.batches for row in measure(bundles, batch, options.runs, options.out)]
    rows += list(gpu_torch.rows(options.batches, options.runs))
    text = verdict(verified, rows, len(pairs), real=options.data is not None)
    write(options.out / "verdict.md", text.encode())
    say(text)
    return 0 if all(item.holds for item in verified) else 1


def _batches(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def verify(bundles: dict[str, Bundle], precision: Precision, pairs: list[tuple[Image, Image]], out: Path) -> Verified:
    """Build one precision and send every pair on the same trip, here in TensorRT and there in ONNX Runtime.

    Raises:
        EngineError, ExportError: It cannot be built or run.
    """
    ours = {role: _built(bundle, (precision,), 1, out / "verify") for role, bundle in bundles.items()}
    lost: dict[str, list[float]] = {"stego": [], "reply": []}
    agreed = []
    with (
        Client.load(bundles["client"].path, precision="fp32") as client,
        Server.load(bundles["server"].path, precision="fp32") as server,
        Client.load(ours["client"].path, precision=precision, engine=CUDA) as our_client,
        Server.load(ours["server"].path, precision=precision, engine=CUDA) as our_server,
    ):
        threshold = client.manifest.mask_threshold or 0.5
        for secret, cover in pairs:
            stego = client.hide(secret, cover)
            reply, ours_reply = server.analyze(stego), our_server.analyze(stego)
            lost["stego"].append(_lost(cover, stego, our_client.hide(secret, cover)))
            # Under a veil two that differ in one value differ in most.
            lost["reply"].append(_lost(cover, *(bare(one, stego, server.manifest.veil) for one in (reply, ours_reply))))
            masks = [c.probability(reply, sent=stego) >= threshold for c in (client, our_client)]
            agreed.append(_dice(masks[0], masks[1]))
    return Verified(precision, *(statistics.mean(values) for values in lost.values()), statistics.mean(agreed))


def measure(bundles: dict[str, Bundle], batch: int, runs: int, out: Path) -> Iterator[Row]:
    """Times of every graph at a batch: TensorRT by parts, ONNX Runtime on CUDA as a whole."""
    for bundle in bundles.values():
        precisions = _precisions(bundles)
        ours = _built(bundle, precisions, batch, out / f"batch-{batch}")
        for graph in ours.manifest.graphs:
            if graph.precision not in precisions or not graph.serves(batch) or not graph.runs_on("tensorrt"):
                continue
            with open_engine(ours, graph, CUDA) as engine:
                assert isinstance(engine, TensorrtEngine)  # noqa: S101  what CUDA asks for
                for way, times in engine.times_ms(batch, runs).items():
                    yield Row(graph.path, batch, f"TensorRT, {way}", times)
            if graph.precision == "fp32":
                yield _onnxruntime(ours, graph, batch, runs)


def _onnxruntime(bundle: Bundle, graph: Graph, batch: int, runs: int) -> Row:
    name = "ONNX Runtime CUDA, with copies"
    try:
        with open_engine(bundle, graph, ORT_CUDA) as engine:
            feed = {t.name: np.zeros((batch, *map(int, t.shape[1:])), t.dtype) for t in graph.inputs}
            return Row(graph.path, batch, name, timed(lambda: engine.run(feed), runs))
    except HidemiaError as error:
        return Row(graph.path, batch, name, [], str(error))


def verdict(verified: list[Verified], rows: list[Row], count: int, *, real: bool) -> str:
    """The page: what was checked where, whether it holds, and the times."""
    here = environments.gather()
    gpu = here.gpu
    where = (
        f"{gpu.name if gpu else 'no GPU'}, compute capability {gpu.compute_capability if gpu else 'unknown'}; "
        f"TensorRT {here.tensorrt}, CUDA {here.cuda_runtime}, driver {here.driver}, "
        f"Jetson Linux {here.l4t or 'none'}, Python {here.python}."
    )
    lines = [
        "# TensorRT on this machine",
        "",
        f"**{'It holds.' if all(item.holds for item in verified) else 'It does not hold.'}**",
        "",
        where,
        "",
        f"Against FP32 in ONNX Runtime on the CPU, {count} {'real' if real else 'simulated'} images:",
        "",
        *_table(
            ["precision", "stego lost, dB", "reply lost, dB", "Dice of both masks", "allowed", "holds"],
            [
                [
                    item.precision, f"{item.stego_lost_db:+.3f}", f"{item.reply_lost_db:+.3f}", f"{item.agreement:.4f}",
                    "{} dB, {}".format(*LIMITS[item.precision]), "yes" if item.holds else "NO",
                ]
                for item in verified
            ],
        ),
        "",
        "Times in milliseconds:",
        "",
        *_table(["what", "batch", "engine", "median", "p95", "an image"], [row.cells() for row in rows]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _built(bundle: Bundle, precisions: Sequence[Precision], batch: int, folder: Path) -> Bundle:
    """A copy of a bundle with plans for exactly one batch, so that the product's own plans stay as they are."""
    copy = folder / bundle.manifest.role
    if not copy.exists():
        shutil.copytree(bundle.path, copy, ignore=shutil.ignore_patterns(plans.FOLDER))
    ours = Bundle.open(copy, bundle.manifest.role)
    build_bundle(ours, precisions, PlanSettings(batch=(batch, batch, batch)))
    return ours


def _precisions(bundles: dict[str, Bundle]) -> tuple[Precision, ...]:
    """Those that both halves have for TensorRT."""
    found = [
        {graph.precision for graph in bundle.manifest.graphs if graph.runs_on("tensorrt")}
        for bundle in bundles.values()
    ]
    return tuple(precision for precision in LIMITS if all(precision in some for some in found))


def _pairs(data: Path | None, covers: Path | None, count: int, size: int) -> list[tuple[Image, Image]]:
    if data is not None and covers is not None:
        from hidemia.training.index import photo_rows, read_rows  # noqa: PLC0415  brings torch, which a device has not

        secrets, photos = read_rows(data, "val"), photo_rows(covers, "val")
        chosen = secrets[:: max(1, len(secrets) // count)][:count]
        return [
            (fit(load(data / row["image"]), size), fit(load(covers / photos[i % len(photos)]["image"]), size))
            for i, row in enumerate(chosen)
        ]
    return [(np.repeat(simulate(i, size).image[:, :, None], 3, axis=2), photo(i, size)) for i in range(count)]


def _lost(cover: Image, reference: Image, got: Image) -> float:
    """PSNR lost against the cover, dB; below 0 where the other is nearer to it."""
    return similarity.psnr(cover, reference) - similarity.psnr(cover, got)


def _dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
