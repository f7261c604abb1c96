"""``hidemia attacks``: what an attacker sees of a pair of bundles, measured and written down."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import msgspec
import torch

from hidemia.benchmarks.attacks import page
from hidemia.benchmarks.attacks.attack import Victim, attack
from hidemia.benchmarks.attacks.budget import FULL, QUICK
from hidemia.benchmarks.attacks.means import Means
from hidemia.benchmarks.packaged import add_model, check_weights
from hidemia.benchmarks.report.findings import Attacks
from hidemia.runtime import Client, Server
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import EngineSettings
from hidemia.runtime.errors import DataError
from hidemia.runtime.manifest import Precision
from hidemia.training.errors import one_line

FILE_NAME = "attacks.json"


@one_line("hidemia attacks")
@torch.no_grad()
def attacks(arguments: list[str]) -> int:
    """Measure what an attacker sees: who detects stego and reply, after how many pairs, and what can be taken out."""
    parser = argparse.ArgumentParser(prog="hidemia attacks", description=attacks.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--covers", type=Path, required=True, help="any folder of photos")
    add_model(parser)
    parser.add_argument("--other", type=Path, metavar="WEIGHTS", help="of another training (default: trains a hider)")
    parser.add_argument("--rival", type=Path, action="append", default=[], metavar="WEIGHTS", help="of another hider")
    parser.add_argument("--precision", choices=get_args(Precision), help="of the client (default: its first)")
    parser.add_argument("--engine", choices=("onnxruntime", "openvino"), help="(default: openvino where it is there)")
    parser.add_argument("--quick", action="store_true", help="a minute's try, whose figures mean nothing")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="begin nothing more after these (default: all)")
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted run with this --out stopped")
    parser.add_argument("--out", type=Path, default=Path("build/attacks"), help="where photos and figures go")
    parser.add_argument("--page", type=Path, help="write tables into this page, and its plot beside it as a PNG")
    options = parser.parse_args(arguments)
    if options.budget is not None and not options.budget >= 0:
        parser.error(f"--budget: expected minutes, 0 or more, got {options.budget:g}")
    check_weights(options.weights)
    victim = victim_of(options.client, options.server, options.weights, options.precision, options.engine)
    means = Means(options.data, options.covers, options.other, tuple(options.rival))
    if options.page is not None:
        page.check(options.page)  # a wrong page should not cost an hour
    found = attack(
        victim,
        means,
        options.out,
        QUICK if options.quick else FULL,
        resume=options.resume,
        tell=lambda what: print(what, file=sys.stderr, flush=True),  # noqa: T201
        minutes=options.budget,
    )
    write(found, options.out / FILE_NAME)
    if options.page is not None:
        page.write(options.page, found)
    sys.stdout.write("\n".join(page.lines(found)) + "\n")
    return 0


def victim_of(client: Path, server: Path, weights: Path, precision: Precision | None, engine: str | None) -> Victim:
    """Load a pair.

    Args:
        client: Its folder.
        server: Its folder; its first precision is taken.
        weights: That they were made from.
        precision: Of the client; its first when None.
        engine: OpenVINO where it is installed when None.
    """
    engine = engine or ("openvino" if find_spec("openvino") else "onnxruntime")
    settings = EngineSettings(backend=engine)  # type: ignore[arg-type]
    precision = precision or Bundle.open(client, "client").manifest.graphs[0].precision
    device, analyzer = Client.load(client, precision=precision, engine=settings), Server.load(server, engine=settings)
    answers = analyzer.manifest.graphs[0].precision
    return Victim(device, analyzer, f"hidden in {precision}, answered in {answers}, {engine}", weights)


def write(found: Attacks, file: Path) -> None:
    """The figures as JSON, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    partial.replace(file)


def found_by(file: Path) -> Attacks:
    """What this command wrote.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=Attacks)
    except OSError as error:
        why = error.strerror or "cannot be read"
    except msgspec.MsgspecError as error:
        why = str(error)
    raise DataError(f"{file}: expected what `hidemia attacks` wrote, got: {why}; run it again")
