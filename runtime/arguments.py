"""What the verbs share: a parser whose errors are one line, common options, and files written whole."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import NoReturn, get_args

from hidemia.runtime.engine import DEVICES, EngineSettings
from hidemia.runtime.errors import HidemiaError
from hidemia.runtime.manifest import Precision

__all__ = ["Parser", "check_output", "engine_settings", "positive", "say", "usage_error", "write"]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises `HidemiaError` in place of printing the usage and leaving."""

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(prog=f"hidemia {verb}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise `HidemiaError` with the way to the help."""
        raise usage_error(f"{message}; see {self.prog} --help")

    def add_signature(self) -> None:
        """Add `--require-signature`, which gives a list of files, or None."""
        self.add_argument(
            "--require-signature",
            action="append",
            type=Path,
            metavar="KEYFILE",
            help="refuse a bundle that the holder of this public key (Ed25519, PEM) did not sign; may be repeated",
        )

    def add_shared(self) -> None:
        """Add `--shared-ok`."""
        self.add_argument(
            "--shared-ok", action="store_true", help="load a private bundle although other accounts can read it"
        )

    def add_engine(self) -> None:
        """Add `--precision`, `--engine`, `--device` and `--threads`; `engine_settings` reads them."""
        self.add_argument("--precision", choices=get_args(Precision), help="default: the bundle's first")
        self.add_argument("--engine", choices=list(DEVICES), default="onnxruntime", help="default: onnxruntime")
        self.add_argument("--device", metavar="NAME", default="cpu", help="where the engine runs (default: cpu)")
        self.add_argument(
            "--threads",
            type=positive,
            metavar="N",
            help="threads of the engine (default: the usable cores, at most 8)",
        )


def engine_settings(options: argparse.Namespace) -> EngineSettings:
    """The engine that the options of `Parser.add_engine` ask for.

    Raises:
        EngineError: The engine has no such device.
    """
    return EngineSettings(backend=options.engine, device=options.device, threads=options.threads)


def usage_error(message: str) -> HidemiaError:
    """The error of a wrong command line: exit code 2."""
    return HidemiaError(message, exit_code=2)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """See before the work that its result can be written.

    Raises:
        HidemiaError: Another suffix, or no such folder.
    """
    if path.suffix.lower() not in suffixes:
        raise usage_error(
            f"--out {path}: expected a name that ends in {' or '.join(suffixes)}, "
            f"got {path.suffix or 'no suffix'}; rename it"
        )
    if not path.parent.is_dir():
        raise usage_error(f"--out {path}: expected an existing folder, got {path.parent}; make it first")
    if path.is_dir():
        raise usage_error(f"--out {path}: expected a file name, got a folder; name a file in it")


def write(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, whenever the power fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp gives 0600, whatever the user's umask is
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def say(line: str) -> None:
    """Write one line to the standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
