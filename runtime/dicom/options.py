"""What the command line says about DICOM files, for the verbs that read or write them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import msgspec
import numpy as np

from hidemia.runtime import photo
from hidemia.runtime.arguments import Parser, positive, usage_error
from hidemia.runtime.arrays import Image
from hidemia.runtime.client import Client
from hidemia.runtime.dicom.record import Source
from hidemia.runtime.dicom.regions import WHOLE
from hidemia.runtime.dicom.scan import Scan, View, is_dicom, read
from hidemia.runtime.dicom.segmentation import Equipment, segmentation
from hidemia.runtime.result import Result

__all__ = [
    "add_equipment",
    "add_view",
    "check_record",
    "check_result",
    "encode_record",
    "encode_result",
    "load_equipment",
    "load_secret",
    "load_source",
]

SUFFIX = ".dcm"

_PAIR = re.compile(r"\s*([-+.\deE]+)\s*,\s*([-+.\deE]+)\s*")


def add_view(parser: Parser) -> None:
    """Add the options that say which part of a DICOM file is meant."""
    group = parser.add_argument_group("of a DICOM file")
    group.add_argument("--frame", type=positive, metavar="N", help="which frame, from 1 (default: the only one)")
    window = group.add_mutually_exclusive_group()
    window.add_argument(
        "--window",
        type=_window,
        metavar="C,W",
        help="centre and width (--window=-600,1500), a window's name in the file, or `range` for all values",
    )
    window.add_argument("--window-index", type=positive, metavar="N", help="which of the file's windows, from 1")
    group.add_argument(
        "--region", type=_region, metavar="N", help="which ultrasound region, from 1, or `whole` for all"
    )
    group.add_argument("--allow-burned-in", action="store_true", help="take pixels with text burned in")


def add_equipment(parser: Parser) -> None:
    """Add the option that names the device in a DICOM SEG."""
    parser.add_argument(
        "--equipment",
        type=Path,
        metavar="JSON",
        help="the device that RESULT.dcm names: manufacturer, model, serial_number, software_version, institution, "
        "station",
    )


def load_equipment(options: argparse.Namespace) -> Equipment | None:
    """Read the device that a DICOM SEG shall name, if one was given.

    Raises:
        HidemiaError: The file cannot be read, or says something else; or the result is no DICOM SEG.
    """
    path = options.equipment
    if path is None:
        return None
    if options.out.suffix.lower() != SUFFIX:
        raise usage_error(f"--equipment {path}: expected a DICOM result to name it, got {options.out}; leave it out")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Equipment)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise usage_error(f"--equipment {path}: expected the device as JSON, got: {error}; see docs/dicom.md") from None


def load_secret(path: Path, options: argparse.Namespace) -> tuple[Image, Scan | None]:
    """Read a secret of either kind; the scan is None for a picture.

    Raises:
        ImageError: It cannot be read.
        HidemiaError: A picture, and options of DICOM files.
    """
    if is_dicom(path):
        scan = read(path, _view(options))
        return scan.image, scan
    if _view(options) != View():
        raise usage_error(f"--secret {path}: expected a DICOM file with its options, got another; leave them out")
    return photo.load(path), None


def load_source(path: Path | None, options: argparse.Namespace) -> Scan | None:
    """Read the DICOM file that a result belongs to, if one was named.

    Raises:
        ImageError: It cannot be read.
        HidemiaError: Options of DICOM files without one, or a size beside it.
    """
    if path is None:
        if _view(options) != View() or options.record:
            raise usage_error("--source: expected the DICOM file that the options are about, got none; name it")
        return None
    if options.size is not None:
        raise usage_error(f"--size: expected none with --source {path}, which has a size of its own; leave it out")
    return read(path, _view(options))


def check_record(path: Path, source: Source) -> None:
    """See that a source was read now as it was when it was hidden.

    Raises:
        HidemiaError: The record cannot be read, or says something else.
    """
    try:
        recorded = msgspec.json.decode(path.read_bytes(), type=Source)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise usage_error(f"--record {path}: expected a record that `hidemia hide` wrote, got: {error}") from None
    if recorded != source:
        differs = next(key for key in source.__struct_fields__ if getattr(recorded, key) != getattr(source, key))
        raise usage_error(
            f"--record {path}: expected the same file, frame, region and window as at hiding, got another {differs}; "
            "give the options that were given then"
        )


def check_result(path: Path, scan: Scan | None, client: Client, equipment: Equipment | None) -> None:
    """See before the work that a result can be written as DICOM SEG, by writing an empty one.

    Raises:
        ImageError: The source lacks what a SEG must refer to.
        HidemiaError: The source is no DICOM file.
    """
    if path.suffix.lower() != SUFFIX:
        return
    if scan is None:
        raise usage_error(
            f"--out {path}: expected a DICOM file as the source of a DICOM result, got none; ask for .png or .json"
        )
    where = scan.source.geometry
    segmentation(np.zeros((where.rows, where.columns), np.uint8), scan, client, equipment=equipment)


def encode_result(result: Result, scan: Scan, client: Client, equipment: Equipment | None) -> bytes:
    """A result as DICOM SEG."""
    assert result.mask is not None  # noqa: S101  the verbs have refused classifications
    return segmentation(result.mask, scan, client, equipment=equipment)


def encode_record(source: Source) -> bytes:
    """A record as JSON, the same for the same source and options."""
    return msgspec.json.format(msgspec.json.encode(source, order="sorted"), indent=2) + b"\n"


def _view(options: argparse.Namespace) -> View:
    return View(
        frame=options.frame,
        window=options.window if options.window is not None else options.window_index,
        region=options.region,
        allow_burned_in=options.allow_burned_in,
    )


def _region(text: str) -> int | str:
    return text if text == WHOLE else positive(text)


def _window(text: str) -> tuple[float, float] | str:
    pair = _PAIR.fullmatch(text)
    if pair is None:
        return text
    try:
        return float(pair[1]), float(pair[2])
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected CENTRE,WIDTH, got {text!r}") from None
