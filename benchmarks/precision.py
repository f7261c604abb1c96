"""The page on precisions: what each loses, weighs and takes, on this machine and these images.

``python -m hidemia.benchmarks.precision --client DIR --server DIR --data DIR --covers DIR`` makes every trip of ``val``
with each precision of a pair of bundles, times each graph in ONNX Runtime and, where it is installed, in OpenVINO, and
writes the table between the markers of ``docs/precision.md``.

With ``--tensorrt`` it makes the trips with the INT8 graphs for TensorRT instead, each computed as it is written
(`hidemia.export.parity.literal`), and writes the table of those.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.contenders import ENGINES, installed
from hidemia.benchmarks.evaluate import figures, travel
from hidemia.benchmarks.pages import opened, renewed
from hidemia.benchmarks.timing import interleaved, medians
from hidemia.export.parity import literal
from hidemia.runtime import Client, Server
from hidemia.runtime.arguments import positive
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import Arrays, Engine, usable_threads
from hidemia.runtime.manifest import VERBS, Graph, Role
from hidemia.training.errors import one_line

PROG = "python -m hidemia.benchmarks.precision"
PAGE = Path(__file__).parents[1] / "docs" / "precision.md"
ROUNDS = 9


class Written(Engine):
    """A graph as it is written, whoever it is for."""

    def __init__(self, bundle: Bundle, graph: Graph) -> None:
        self._run, self._outputs = literal(bundle.read(graph)), [tensor.name for tensor in graph.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """Run the graph once; see `Engine.run`."""
        return dict(zip(self._outputs, self._run(inputs), strict=True))

    def close(self) -> None:
        """Nothing is held that the garbage collector does not free."""


def tensorrt_table(client: Path, server: Path, data: Path, covers: Path, covers_per_image: int) -> list[str]:
    """The row of INT8 for TensorRT on ``val``, and the sizes of its files."""
    bundles: dict[Role, Bundle] = {"client": Bundle.open(client, "client"), "server": Bundle.open(server, "server")}
    graphs = {
        verb: bundle.graph(verb, precision="int8", backend="tensorrt")
        for role, bundle in bundles.items()
        for verb in VERBS[role]
    }
    hide, recover = (Written(bundles["client"], graphs[verb]) for verb in VERBS["client"])
    device = Client(bundles["client"].manifest, hide, recover, manifest_sha256="")
    analyze = Written(bundles["server"], graphs["analyze"])
    analyzer = Server(bundles["server"].manifest, [(graphs["analyze"], analyze)], manifest_sha256="")
    rows = [*HEAD, _row("int8 for TensorRT", device, analyzer, data, covers, covers_per_image)]
    rows += ["", "| graph | MiB | convolutions |", "|---|---|---|"]
    return rows + [
        f"| `{graph.path}` | {graph.size_bytes / 2**20:.2f} | {graph.precision_achieved} |" for graph in graphs.values()
    ]


HEAD = ["| precision | stego | worst | reply | worst | task | images |", "|---|---|---|---|---|---|---|"]


def figures_table(client: Path, server: Path, data: Path, covers: Path, covers_per_image: int) -> list[str]:
    """A row for each precision: the figures on ``val``."""
    precisions = dict.fromkeys(graph.precision for graph in Bundle.open(client, "client").manifest.graphs)
    rows = list(HEAD)
    for precision in precisions:
        with Client.load(client, precision=precision) as device, Server.load(server, precision=precision) as analyzer:
            rows.append(_row(precision, device, analyzer, data, covers, covers_per_image))
    return rows


def _row(name: str, device: Client, analyzer: Server, data: Path, covers: Path, covers_per_image: int) -> str:
    trips = travel(device, analyzer, data, covers, "val", covers_per_image, lambda images: images)
    found = figures(trips, device.manifest.mask_threshold)
    task = f"DSC {found['dsc']:.4f}" if "dsc" in found else f"accuracy {found['accuracy']:.4f}"
    return (
        f"| {name} | {found['stego_psnr_db']:.2f} dB | {found['stego_psnr_min_db']:.2f} dB | "
        f"{found['reply_psnr_db']:.2f} dB | {found['reply_psnr_min_db']:.2f} dB | {task} | {found['n_images']} |"
    )


def speed_table(folders: list[tuple[Path, Role]]) -> list[str]:
    """A row for each graph: size, and the median time of a batch of one in each engine."""
    rows = [f"| graph | MiB | {' | '.join(installed())} |", "|---|---|" + "---|" * len(installed())]
    for folder, role in folders:
        bundle = Bundle.open(folder, role)
        for graph in bundle.manifest.graphs:
            if graph.backends == ["tensorrt"]:
                continue  # no engine on a CPU is given it
            data, feed = bundle.read(graph), photos(graph)
            runs = {engine: ENGINES[engine](data, feed, usable_threads()) for engine in installed()}
            times = " | ".join(f"{ms:.0f} ms" for ms in medians(interleaved(runs, ROUNDS)).values())
            rows.append(f"| `{graph.path}` | {graph.size_bytes / 2**20:.2f} | {times} |")
    return rows


def photos(graph: Graph) -> dict[str, NDArray[np.uint8]]:
    """A batch of one for each input: noise, which takes as long as a photo."""
    draw = np.random.default_rng(0)
    return {
        tensor.name: draw.integers(0, 256, [1, *(int(d) for d in tensor.shape[1:])], dtype=np.uint8)
        for tensor in graph.inputs
    }


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """What each precision of a pair of bundles loses, weighs and takes; with images, into docs/precision.md."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--client", type=Path, required=True, help="client bundle, such as OUT/client of an export")
    parser.add_argument("--server", type=Path, required=True, help="server bundle, such as OUT/server of an export")
    parser.add_argument("--data", type=Path, help="medical images; without them only sizes and times are printed")
    parser.add_argument("--covers", type=Path, help="any folder of photos; with --data")
    parser.add_argument("--covers-per-image", type=positive, default=1, help="(default 1)")
    parser.add_argument("--tensorrt", action="store_true", help="the graphs for TensorRT, as they are written")
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.covers is None):
        parser.error("--data and --covers go together")
    if options.tensorrt and options.data is None:
        parser.error("--tensorrt needs --data and --covers")
    where = (options.client, options.server, options.data, options.covers, options.covers_per_image)
    place = "precision --tensorrt" if options.tensorrt else "precision"
    page = opened(PAGE, place) if options.data else ""
    if options.tensorrt:
        rows = tensorrt_table(*where)
    else:
        rows = [*figures_table(*where), ""] if options.data else []
        rows += speed_table([(options.client, "client"), (options.server, "server")])
    if options.data:
        PAGE.write_text(renewed(page, place, rows), encoding="utf-8")
    sys.stdout.write("\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
