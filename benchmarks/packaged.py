"""The packaged model as what commands measure unless told otherwise: its bundles, and the weights they came from."""

from __future__ import annotations

import argparse
from pathlib import Path

from hidemia.runtime import defaults
from hidemia.runtime.errors import DataError

WEIGHTS = Path("weights") / defaults.MODEL  # the package has no weights, a clone has


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--client``, ``--server`` and ``--weights``."""
    packaged = f"default: that of the packaged model, {defaults.MODEL}"
    parser.add_argument(
        "--client", type=Path, default=defaults.bundle("client"), metavar="DIR", help=f"client bundle ({packaged})"
    )
    parser.add_argument(
        "--server", type=Path, default=defaults.bundle("server"), metavar="DIR", help=f"server bundle ({packaged})"
    )
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, metavar="DIR",
        help=f"the weights they were made from (default: {WEIGHTS}, from a clone of the repository)",
    )  # fmt: skip


def check_weights(folder: Path) -> None:
    """See that the default weights are there.

    Raises:
        DataError: they are not, so this is no clone.
    """
    if folder == WEIGHTS and not folder.is_dir():
        raise DataError(
            f"{folder}: expected the weights of the packaged model, got no such folder; run it from a clone of the "
            "repository, or give --weights DIR"
        )
