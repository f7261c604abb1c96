"""The verbs of a single trip: hide, analyze, recover, send."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import msgspec
import numpy as np

from hidemia.runtime import defaults, headers, photo, png, trip
from hidemia.runtime.arguments import Parser, check_output, engine_settings, say, usage_error, write
from hidemia.runtime.arrays import Image
from hidemia.runtime.client import Client
from hidemia.runtime.covers import CoverPool
from hidemia.runtime.dicom import Equipment, Scan
from hidemia.runtime.dicom import options as dicom
from hidemia.runtime.result import Result
from hidemia.runtime.server import Server
from hidemia.runtime.transport import Transport

__all__ = ["analyze", "hide", "recover", "send"]

TOKEN_VARIABLE = "HIDEMIA_TOKEN"  # noqa: S105  its name, not a token
_BUNDLE_HELP = "bundle (default: the packaged one, whose weights are public)"
_RESULTS = (".png", ".json", dicom.SUFFIX)
_RESULT_HELP = "RESULT.png, RESULT.json, or RESULT.dcm (DICOM SEG) where the source is DICOM"


def hide(arguments: list[str]) -> int:
    """Run `hidemia hide`."""
    parser = Parser("hide", "Hide a secret image in a cover photo. The cover is recorded: it carries one secret only.")
    _add_client(parser)
    parser.add_argument("--secret", required=True, type=Path, metavar="IMG|DCM", help="the medical image")
    parser.add_argument("--cover", required=True, type=Path, metavar="IMG", help="a private photo, never used before")
    parser.add_argument("--out", required=True, type=Path, metavar="STEGO.png", help="where the stego goes")
    parser.add_argument("--allow-reuse", action="store_true", help="take a used cover, and record nothing")
    dicom.add_view(parser)
    parser.add_argument("--record", type=Path, metavar="JSON", help="where it is recorded how a DICOM file was read")
    options = parser.parse_args(arguments)
    check_output(options.out, (".png",))
    secret, scan = dicom.load_secret(options.secret, options)
    if options.record is not None:
        check_output(options.record, (".json",))
        if scan is None:
            parser.error(f"--record {options.record}: expected a DICOM file as --secret, got {options.secret}")
    cover = photo.load(options.cover)
    with _client(options) as client:
        cover = trip.take(client.manifest, secret, cover=cover, allow_reuse=options.allow_reuse)
        stego = client.hide(secret, cover)
    if options.record is not None and scan is not None:
        write(options.record, dicom.encode_record(scan.source))
    write(options.out, png.encode(stego))
    say(f"wrote {options.out}")
    return 0


def analyze(arguments: list[str]) -> int:
    """Run `hidemia analyze`."""
    parser = Parser("analyze", "Analyse a stego photo without extracting what is hidden, and write the reply photo.")
    parser.add_argument("--server", type=Path, default=defaults.bundle("server"), metavar="DIR", help=_BUNDLE_HELP)
    parser.add_shared()
    parser.add_signature()
    parser.add_engine()
    parser.add_argument("stego", type=Path, metavar="STEGO.png", help="the photo as it was received")
    parser.add_argument("--out", required=True, type=Path, metavar="REPLY.png", help="where the reply goes")
    options = parser.parse_args(arguments)
    check_output(options.out, (".png",))
    stego = _load_photo(options.stego)
    with Server.load(
        options.server,
        precision=options.precision,
        engine=engine_settings(options),
        trusted_keys=options.require_signature,
        shared_ok=options.shared_ok,
    ) as server:
        reply = server.analyze(stego)
    write(options.out, png.encode(reply))
    say(f"wrote {options.out}")
    return 0


def recover(arguments: list[str]) -> int:
    """Run `hidemia recover`."""
    parser = Parser("recover", "Recover the result from a reply photo: a mask as PNG, or what it says as JSON.")
    _add_client(parser)
    parser.add_argument("--sent", required=True, type=Path, metavar="STEGO.png", help="the photo that was sent")
    parser.add_argument("reply", type=Path, metavar="REPLY.png", help="the photo that came back")
    parser.add_argument("--size", type=_size, metavar="WxH", help="size of the mask (default: the network's)")
    parser.add_argument("--out", required=True, type=Path, metavar="RESULT", help=_RESULT_HELP)
    parser.add_argument("--source", type=Path, metavar="DCM", help="the DICOM file that was hidden")
    parser.add_argument("--record", type=Path, metavar="JSON", help="what `hide` recorded of it: it must be the same")
    dicom.add_view(parser)
    dicom.add_equipment(parser)
    options = parser.parse_args(arguments)
    check_output(options.out, _RESULTS)
    equipment = dicom.load_equipment(options)
    sent, reply = _load_photo(options.sent), _load_photo(options.reply)
    scan = dicom.load_source(options.source, options)
    if scan is not None and options.record is not None:
        dicom.check_record(options.record, scan.source)
    with _client(options) as client:
        _check_result(options.out, scan, client, equipment)
        size = options.size if scan is None else (scan.image.shape[0], scan.image.shape[1])
        result = client.recover(reply, sent=sent, size=size)
        _write_result(options.out, result, scan, client, equipment)
    return 0


def send(arguments: list[str]) -> int:
    """Run `hidemia send`."""
    parser = Parser("send", "Make the whole trip: hide an image in a fresh cover, send it, recover the result.")
    _add_client(parser)
    parser.add_argument("--url", required=True, metavar="URL", help="the server, https://host:port")
    parser.add_argument("--secret", required=True, type=Path, metavar="IMG|DCM", help="the medical image")
    parser.add_argument("--covers", required=True, type=Path, metavar="DIR", help="folder of private photos")
    parser.add_argument("--out", required=True, type=Path, metavar="RESULT", help=_RESULT_HELP)
    dicom.add_view(parser)
    dicom.add_equipment(parser)
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"bearer token (default: ${TOKEN_VARIABLE}, else none)",
    )
    parser.add_argument("--ca-file", type=Path, metavar="FILE", help="certificates to trust in place of the system's")
    parser.add_argument("--client-cert", metavar="FILE", help="certificate of this device")
    parser.add_argument("--client-key", metavar="FILE", help="its key")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="of every wait (default: 30)")
    parser.add_argument("--attempts", type=int, default=4, metavar="N", help="times the photo is sent (default: 4)")
    parser.add_argument(
        "--public-key-ok",
        action="store_true",
        help="send to other machines with weights that anyone can download",
    )
    options = parser.parse_args(arguments)
    if (options.client_cert is None) != (options.client_key is None):
        parser.error("--client-cert and --client-key go together")
    check_output(options.out, _RESULTS)
    equipment = dicom.load_equipment(options)
    secret, scan = dicom.load_secret(options.secret, options)
    carrier = Transport(
        options.url,
        token=read_token(options.token_file),
        ca_file=options.ca_file,
        client_cert=(options.client_cert, options.client_key) if options.client_cert else None,
        timeout_s=options.timeout,
        attempts=options.attempts,
    )
    with carrier, _client(options) as client:
        _check_result(options.out, scan, client, equipment)
        result = client.send(secret, carrier, covers=CoverPool(options.covers), public_key_ok=options.public_key_ok)
        _write_result(options.out, result, scan, client, equipment)
    return 0


def read_token(file: Path | None) -> str | None:
    """Read a bearer token from a file or the environment; others can see the command line.

    Raises:
        HidemiaError: The file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise usage_error(f"--token-file {file}: expected a readable token, got: {error}") from None
    if not token:
        raise usage_error(f"--token-file {file}: expected a token, got an empty file")
    return token


def _add_client(parser: Parser) -> None:
    parser.add_argument("--client", type=Path, default=defaults.bundle("client"), metavar="DIR", help=_BUNDLE_HELP)
    parser.add_shared()
    parser.add_signature()
    parser.add_engine()


def _client(options: argparse.Namespace) -> Client:
    return Client.load(
        options.client,
        precision=options.precision,
        engine=engine_settings(options),
        trusted_keys=options.require_signature,
        shared_ok=options.shared_ok,
    )


def _load_photo(path: Path) -> Image:
    return png.decode(photo.read_bytes(path, limits=headers.WIRE), name=str(path))


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not all(side.isdecimal() and 1 <= int(side) <= headers.PHOTO.max_side_px for side in (width, height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT in px, got {text!r}")
    return int(height), int(width)


def _check_result(path: Path, scan: Scan | None, client: Client, equipment: Equipment | None) -> None:
    suffix = path.suffix.lower()
    if client.manifest.task == "classification" and suffix != ".json":
        raise usage_error(f"--out {path}: expected .json for a classification, which has no mask, got {suffix}")
    dicom.check_result(path, scan, client, equipment)


def _write_result(path: Path, result: Result, scan: Scan | None, client: Client, equipment: Equipment | None) -> None:
    """Write a result, in the geometry of the DICOM source if there is one."""
    result = result if scan is None else scan.place(result)
    suffix = path.suffix.lower()
    if suffix == ".json":
        write(path, _json(result))
    elif suffix == ".png":
        assert result.mask is not None  # noqa: S101  _check_result has seen to it
        write(path, png.encode_mask(result.mask))
    else:
        assert scan is not None  # noqa: S101  the same
        write(path, dicom.encode_result(result, scan, client, equipment))
    say(f"wrote {path}")


def _json(result: Result) -> bytes:
    """The result without times, so that the same reply gives the same bytes."""
    integrity = result.integrity
    content: dict[str, object] = {
        "task": result.task,
        "classes": list(result.classes),
        "integrity": {
            "psnr_db": round(integrity.psnr_db, 3),
            "changed_share": round(integrity.changed_share, 6),
            "low_change": round(integrity.low_change, 6),
            "seal_share": None if integrity.seal_share is None else round(integrity.seal_share, 6),
            "seal_strength": None if integrity.seal_strength is None else round(integrity.seal_strength, 6),
        },
    }
    if result.mask is None:
        content["label"] = result.label
        content["probabilities"] = [round(float(p), 6) for p in result.probability]
    else:
        content["size_px"] = [result.mask.shape[1], result.mask.shape[0]]
        content["mask_share"] = round(float(np.count_nonzero(result.mask) / result.mask.size), 6)
    if result.source is not None:
        content["source"] = msgspec.to_builtins(result.source)
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
