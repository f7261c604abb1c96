"""``hidemia export --weights DIR --out DIR``: a trained model becomes a client and a server bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from hidemia.export import triton, veiling
from hidemia.export.build import build_here
from hidemia.runtime.errors import ExportError
from hidemia.runtime.manifest import Precision

if TYPE_CHECKING:
    from hidemia.export.proof import Export
    from hidemia.export.quantize import Layout

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def export(arguments: list[str]) -> int:
    """Turn trained weights into proven bundles, or a server bundle into a Triton model repository."""
    parser = argparse.ArgumentParser(prog="hidemia export", description=export.__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="a model: weights/NAME, or what `train` wrote")
    source.add_argument("--server", type=Path, help="a server bundle that is there already; with --triton")
    parser.add_argument("--out", type=Path, required=True, help="where client/ and server/ go, or Triton's models")
    parser.add_argument("--triton", action="store_true", help="write a Triton model repository: OUT/triton, or OUT")
    parser.add_argument("--plans", type=Path, help="with --server: the folder of TensorRT plans that Triton shall run")
    parser.add_argument("--data", type=Path, help="check with real scans: their folder; otherwise simulated ones")
    parser.add_argument("--covers", type=Path, help="and photos: their folder; with --data")
    parser.add_argument(
        "--precision",
        type=_precisions,
        metavar="fp32,fp16,int8",
        help="fp32 and what is wanted beside it; all that the weights allow if left out",
    )
    parser.add_argument(
        "--server-precision",
        type=_precisions,
        default=PRECISIONS,
        metavar="fp32,fp16,int8",
        help="of these, what the server bundle keeps; all if left out",
    )
    parser.add_argument(
        "--tensorrt", action="store_true", help="write int8 for TensorRT too, which reads no other; needs no GPU"
    )
    parser.add_argument(
        "--private",
        action="store_true",
        help="these weights are yours alone: allow sending beyond this machine",
    )
    options = parser.parse_args(arguments)
    if options.server is not None:
        if not options.triton:
            parser.error("--server goes with --triton")
        return _triton(options.server, options.out, options.plans)
    if options.plans is not None:
        parser.error("--plans goes with --server")
    if (options.data is None) != (options.covers is None):
        parser.error("--data and --covers go together")
    return _export(options)


def _export(options: argparse.Namespace) -> int:
    """Make the bundles, unless they are there."""
    # Here, because a bundle becomes a Triton repository without torch.
    from hidemia.export.bundles import export_model, offered  # noqa: PLC0415
    from hidemia.export.freshness import export_key, is_fresh  # noqa: PLC0415
    from hidemia.export.probes import SIMULATED, real, simulated  # noqa: PLC0415
    from hidemia.export.quantize import LAYOUTS  # noqa: PLC0415
    from hidemia.training.index import photo_rows, read_rows  # noqa: PLC0415
    from hidemia.training.weights import load_weights  # noqa: PLC0415

    _, config = load_weights(options.weights)
    precisions = options.precision or tuple(offered(options.weights))
    images = (read_rows(options.data, "val"), photo_rows(options.covers, "val")) if options.data else ()
    if options.tensorrt and "int8" not in precisions:
        raise ExportError(
            f"--tensorrt: expected int8 among the precisions, got {','.join(precisions)}; add it to --precision, "
            "or calibrate the weights (python -m hidemia.export.sensitivity)",
            exit_code=2,
        )
    layouts: tuple[Layout, ...] = LAYOUTS if options.tensorrt else LAYOUTS[:1]
    settings = {
        "precisions": precisions,
        "layouts": layouts,
        "server_precisions": options.server_precision,
        "public_key": not options.private,
    }
    if options.private and config.veil_reach is not None:
        veiling.kept_key(options.weights / veiling.FILE_NAME)  # now, because the export depends on it
    key = export_key(options.weights, settings, images)
    if is_fresh(options.out, key):
        sys.stdout.write(
            f"{options.out}: up to date, made of the same weights, code, settings and environment; nothing to do\n"
        )
        return _finish(options.out, triton_wanted=options.triton)
    probes = (
        real(options.data, options.covers, config)
        if options.data
        else simulated(SIMULATED, config.image_size_px, config.task)
    )
    made = export_model(
        options.weights, options.out, probes, public_key=not options.private,
        precisions=precisions, server_precisions=options.server_precision,
        layouts=layouts, key=key,
    )  # fmt: skip
    _tell(made, f"{len(probes)} trips ({'of val' if options.data else 'simulated'})")
    sys.stdout.write(f"{options.out}: client and server bundles\n")
    return _finish(options.out, triton_wanted=options.triton)


def _tell(made: Export, images: str) -> None:
    """A line for each graph and engine, and for each precision and engine."""
    for item in made.graphs:
        for backend, parity in item.parity.items():
            graph, latency_ms = item.graph, item.latency_ms.get(backend)
            proof = (
                f"results agree in {parity.agreement:.3%}, largest error {parity.max_error:.1e}"
                if graph.verb == "recover"
                else f"{parity.identical_share:.3%} of each colour identical, at most {parity.max_levels} level off"
            )
            time = f"{latency_ms:6.1f} ms" if latency_ms is not None else " " * 9
            line = f"{graph.path:24} {graph.size_bytes / 2**20:5.1f} MiB  {backend:11} {time}  {proof}"
            sys.stdout.write(line + "\n")
    for precision, trips in made.trips.items():
        for backend, figures in trips.items():
            sys.stdout.write(
                f"{precision} in {backend}: stego {figures.stego_psnr_db:.2f} dB, "
                f"reply {figures.reply_psnr_db:.2f} dB, task {figures.task:.4f} on {images}\n"
            )


def _finish(out: Path, *, triton_wanted: bool) -> int:
    """What follows from finished bundles: plans where there is a GPU, and Triton's repository."""
    sys.stdout.write(build_here(out) + "\n")
    return _triton(out / "server", out / "triton", None) if triton_wanted else 0


def _triton(server: Path, out: Path, plans: Path | None) -> int:
    model = triton.write_repository(server, out, plans=plans)
    sys.stdout.write(f"{model}: for tritonserver --model-repository {out}\n")
    return 0


def _precisions(text: str) -> tuple[Precision, ...]:
    """Names separated by commas; fp32 is among them, because the others are held to it."""
    names = text.split(",")
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or "fp32" not in names:
        raise argparse.ArgumentTypeError(
            f"expected fp32 and any of {', '.join(PRECISIONS[1:])}, separated by commas, got {text!r}"
        )
    return tuple(name for name in PRECISIONS if name in names)
