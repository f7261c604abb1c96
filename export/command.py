"""``hidemia export --weights DIR --out DIR``: a trained model becomes a client and a server bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hidemia.export.bundles import export_model
from hidemia.export.probes import real, simulated
from hidemia.training.weights import load_weights

PROBES = 6


def export(arguments: list[str]) -> int:
    """Turn trained weights into bundles, proven equal to PyTorch."""
    parser = argparse.ArgumentParser(prog="hidemia export", description=export.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a model: weights/NAME, or what `train` wrote")
    parser.add_argument("--out", type=Path, required=True, help="where client/ and server/ go")
    parser.add_argument("--data", type=Path, help="check with real scans: their folder; otherwise simulated ones")
    parser.add_argument("--covers", type=Path, help="and photos: their folder; with --data")
    parser.add_argument(
        "--private",
        action="store_true",
        help="these weights are yours alone: allow sending beyond this machine",
    )
    options = parser.parse_args(arguments)
    if (options.data is None) != (options.covers is None):
        parser.error("--data and --covers go together")
    _, config = load_weights(options.weights)
    probes = (
        real(options.data, options.covers, PROBES, config.image_size_px)
        if options.data
        else simulated(PROBES, config.image_size_px)
    )
    for item in export_model(options.weights, options.out, probes, public_key=not options.private):
        for backend, parity in item.parity.items():
            graph, latency_ms = item.graph, item.latency_ms[backend]
            proof = (
                f"results agree in {parity.agreement:.3%}, largest error {parity.max_error:.1e}"
                if graph.verb == "recover"
                else f"{parity.identical_share:.3%} of values identical, at most {parity.max_levels} level off"
            )
            line = f"{graph.path:24} {graph.size_bytes / 2**20:5.1f} MiB  {backend:11} {latency_ms:6.1f} ms  {proof}"
            sys.stdout.write(line + "\n")
    sys.stdout.write(f"{options.out}: client and server bundles, checked on {len(probes)} images\n")
    return 0
