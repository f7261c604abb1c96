"""The `hidemia` command: finds a verb among the installed layers and runs it; errors are one line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

import cv2

__all__ = ["main"]

GROUP = "hidemia.commands"

# Layer of a verb -> the extra that brings what it imports.
_EXTRAS = {
    "hidemia.training": "train",
    "hidemia.export": "export",
    "hidemia.benchmarks": "bench",
    "hidemia.runtime": "server",
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The command line after `hidemia`; the process's own when None.

    Returns:
        0 done, 1 the work failed, 2 the call was wrong, 130 interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    _silence_decoders()
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    verbs = {entry.name: entry for entry in entry_points(group=GROUP)}
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_usage(sorted(verbs)))
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb == "--version":
        sys.stdout.write(f"hidemia {_version()}\n")
        return 0
    if verb not in verbs:
        return _fail("hidemia", f"{verb!r}: expected one of {', '.join(sorted(verbs))}; see hidemia --help", 2)
    return _run(verb, verbs[verb], rest)


def _run(verb: str, entry: EntryPoint, arguments: list[str]) -> int:  # noqa: PLR0911  one for each way to end
    name = f"hidemia {verb}"
    try:
        command: Callable[[list[str]], int] = entry.load()
        return command(arguments)
    except SystemExit as leaving:  # argparse after --help, and parsers of other layers
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        return _fail(name, leaving.code, 1)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)
    except ModuleNotFoundError as error:
        return _fail(name, _missing(verb, entry, error), 1)
    except BrokenPipeError:
        # The reader of the output is gone; so that the exit flushes nothing more into it:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # The contract with every layer: an integer exit_code makes it one line; anything else is a bug.
        code = getattr(error, "exit_code", None)
        if isinstance(code, int):
            return _fail(name, error, code)
        if isinstance(error, OSError):
            return _fail(name, error, 1)
        raise


def _missing(verb: str, entry: EntryPoint, error: ModuleNotFoundError) -> str:
    missing = error.name or "a module"
    if missing.startswith("hidemia."):
        return f"expected {missing}, got no such module; this installation has no {verb}: install hidemia again"
    layer = next((layer for layer in _EXTRAS if entry.module.startswith(layer)), "")
    extra = _EXTRAS.get(layer, "dev")
    return f"expected the package {missing}, got none; pip install 'hidemia[{extra}]'"


def _silence_decoders() -> None:
    """Drop OpenCV's own lines, which would come on top of the one that says what is wrong."""
    # OpenCV 5 moved the function that 4 has.
    set_level: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_level(0)


def _usage(verbs: list[str]) -> str:
    return (
        "usage: hidemia VERB ...\n\n"
        "Hide a medical image in a photo, have the photo analysed, recover the result.\n\n"
        f"verbs: {', '.join(verbs)}\n\n"
        "hidemia VERB --help says what it takes. Research use; not a medical device.\n"
    )


def _version() -> str:
    try:
        return version("hidemia")
    except PackageNotFoundError:
        return "(not installed)"


def _fail(name: str, message: object, code: int) -> int:
    sys.stderr.write(f"{name}: {' '.join(str(message).split())}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
