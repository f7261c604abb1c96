"""The verb `hidemia demo`: one scan goes to a real server inside a photo, and its result comes back."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hidemia.runtime import defaults, photo, png
from hidemia.runtime.arguments import Parser, say, usage_error, write
from hidemia.runtime.client import Client
from hidemia.runtime.demo.landscape import photo as landscape
from hidemia.runtime.demo.picture import Journey, picture
from hidemia.runtime.demo.process import running
from hidemia.runtime.demo.scan import simulate
from hidemia.runtime.errors import EngineError
from hidemia.runtime.similarity import psnr, ssim
from hidemia.runtime.transport import Transport
from hidemia.runtime.verbs import read_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from hidemia.runtime.arrays import Image

SCAN_SEED = 44
"""An irregular, spiculated mass: an outline that no ellipse would fit."""
COVER_SEED = 6
"""Texture everywhere but in a little sky, as a good cover has."""


def demo(arguments: list[str]) -> int:
    """Run the demonstration; returns the exit code."""
    parser = Parser("demo", "Hide a scan in a photo, have a server analyse the photo, recover the result, draw how.")
    parser.add_argument("--secret", type=Path, metavar="IMG", help="medical image (default: a simulated scan)")
    parser.add_argument("--cover", type=Path, metavar="IMG", help="photo to hide it in (default: a rendered one)")
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo"), help="folder (default: demo)")
    given = parser.parse_args(arguments)
    start = time.monotonic()
    secret = None if given.secret is None else photo.load(given.secret)
    cover = None if given.cover is None else photo.load(given.cover)
    out = _folder(given.out)
    with _stoppable():
        journey = travel(secret, cover)
    _write_all(out, journey)
    say(_report(journey, out, time.monotonic() - start))
    return 0


def travel(secret: Image | None, cover: Image | None) -> Journey:
    """Send one scan through a server process of its own.

    Args:
        secret: uint8 (H, W, 3), RGB; a simulated scan, whose truth is known, if None.
        cover: The same; a rendered landscape if None.

    Returns:
        What was seen on the way, every image at the network's size.

    Raises:
        HidemiaError: Any step failed; the server is stopped all the same.
    """
    with Client.load(defaults.bundle("client")) as client:
        size = client.image_size_px
        truth = None
        if secret is None:
            scan = simulate(SCAN_SEED, size)
            secret, truth = np.repeat(scan.image[:, :, None], 3, axis=2), scan.mask
        cover = landscape(COVER_SEED, size) if cover is None else cover
        secret, cover = photo.fit(secret, size), photo.fit(cover, size)
        serve = (
            sys.executable,
            "-m",
            "hidemia.runtime.cli",
            "serve",
            "--server",
            str(defaults.bundle("server")),
        )
        with running(serve) as url, Transport(url, token=read_token(None)) as transport:
            stego = client.hide(secret, cover)
            answer = transport.exchange(png.encode(stego), etag=client.manifest.etag)
            reply = png.decode(answer, name="reply")
            mask = client.recover(reply, sent=stego).mask
    if mask is None:
        raise EngineError("demo: expected a model that outlines, got one that classifies; export the default model")
    return Journey(
        secret=secret,
        cover=cover,
        stego=stego,
        reply=reply,
        result=mask,
        truth=truth,
        stego_psnr_db=psnr(stego, cover),
        stego_ssim=ssim(stego, cover),
        reply_psnr_db=psnr(reply, cover),
        reply_ssim=ssim(reply, cover),
        dice=None if truth is None else dice(mask, truth),
        veiled=client.manifest.veil is not None,
    )


def dice(mask: Image, truth: Image) -> float:
    """Measure how two masks agree, uint8 (H, W), 0 or 255: from 0, nothing in common, to 1, the same."""
    total = np.count_nonzero(mask) + np.count_nonzero(truth)
    return 2 * np.count_nonzero((mask > 0) & (truth > 0)) / total if total else 1.0


@contextmanager
def _stoppable() -> Iterator[None]:
    """Leave through the blocks' ends on SIGTERM too, so that no server stays behind."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _folder(path: Path) -> Path:
    """Make the folder for the pictures, before any work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise usage_error(
            f"--out {path}: expected a folder to write to, got {error.strerror}; pass another --out"
        ) from None
    return path


def _write_all(out: Path, journey: Journey) -> None:
    """Write every image of a journey, and the picture of it."""
    images = {
        "secret.png": journey.secret,
        "cover.png": journey.cover,
        "stego.png": journey.stego,
        "reply.png": journey.reply,
        "demo.png": picture(journey),
    }
    for name, pixels in images.items():
        write(out / name, png.encode(pixels))
    write(out / "result.png", png.encode_mask(journey.result))


def _report(journey: Journey, out: Path, took_s: float) -> str:
    """Say in a few lines how it went."""
    lines = [
        f"stego    PSNR {journey.stego_psnr_db:5.2f} dB   SSIM {journey.stego_ssim:.4f}   against the cover",
        f"reply    PSNR {journey.reply_psnr_db:5.2f} dB   SSIM {journey.reply_ssim:.4f}   against the cover",
        "result   no truth to compare with"
        if journey.dice is None
        else f"result   Dice {journey.dice:.3f}   against the truth",
        f"picture  {out / 'demo.png'}   ({took_s:.1f} s)",
    ]
    return "\n".join(lines)
