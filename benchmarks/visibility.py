"""How far stego and reply are from the cover on simulated scans and photos, after PNG; and pictures of one trip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hidemia.benchmarks.metrics import dice
from hidemia.benchmarks.report.measurements import Picture, Visibility
from hidemia.export.probes import Probe, simulated
from hidemia.runtime import Client, Server, png, similarity
from hidemia.runtime.demo.picture import amplified

Image = NDArray[np.uint8]


def visibility(client: Path, server: Path, count: int) -> tuple[list[Visibility], list[Picture]]:
    """Make trips of simulated scans in simulated photos.

    Args:
        client: Client bundle.
        server: Server bundle.
        count: Trips. The first is the one in the pictures.
    """
    pictures: list[Picture] = []
    covers, photos = [], {"stego": [], "reply": []}  # type: ignore[var-annotated]
    with Client.load(client) as device, Server.load(server) as analyzer:
        for probe in simulated(count, device.image_size_px):
            stego = png.decode(png.encode(device.hide(probe.secret, probe.cover)))
            reply = png.decode(png.encode(analyzer.analyze(stego)))
            covers.append(probe.cover)
            photos["stego"].append(stego)
            photos["reply"].append(reply)
            if not pictures:
                pictures = _pictures(probe, stego, reply, device)
    return [_visibility(name, taken, covers) for name, taken in photos.items()], pictures


def distances(image: Image, cover: Image) -> list[int]:
    """How many values are 0, 1, 2, ... grey levels from the cover's; the last entry is not 0."""
    apart = np.abs(image.astype(np.int16) - cover.astype(np.int16))
    return [int(number) for number in np.bincount(apart.ravel())]


def _visibility(name: str, photos: list[Image], covers: list[Image]) -> Visibility:
    pairs = list(zip(photos, covers, strict=True))
    return Visibility(
        photo=name,
        psnr_db=[round(similarity.psnr(photo, cover), 3) for photo, cover in pairs],
        ssim=[round(similarity.ssim(photo, cover), 5) for photo, cover in pairs],
        levels=distances(np.stack(photos), np.stack(covers)),
    )


def _pictures(probe: Probe, stego: Image, reply: Image, device: Client) -> list[Picture]:
    found = [
        ("secret", "the scan, simulated", probe.secret),
        ("cover", "the photo, simulated; it never leaves the device", probe.cover),
        ("stego", _closeness(stego, probe.cover), stego),
        ("reply", _closeness(reply, probe.cover), reply),
    ]
    analysed = "what the analysis changed: it carries the result"
    if device.manifest.veil is not None:
        analysed = "the result under its veil: noise to whoever lacks the key"
    for name, photo, other, against in (
        ("stego - cover", stego, probe.cover, "what hiding changed"),
        ("reply - cover", reply, probe.cover, "what hiding and analysis changed"),
        ("reply - stego", reply, stego, analysed),
    ):
        seen, factor = amplified(photo, other)
        found.append((f"{name}, x{factor}", against, np.asarray(seen, dtype=np.uint8)))
    result = device.recover(reply, sent=stego)
    if result.mask is not None:
        truth = np.asarray(probe.truth)
        note = f"found on the device; Dice {dice(result.mask > 0, truth):.3f} against the truth"
        found.append(("result", note, np.repeat(result.mask[..., None], 3, axis=2)))
    return [Picture(name=name, caption=caption, png=png.encode(image)) for name, caption, image in found]


def _closeness(photo: Image, cover: Image) -> str:
    return f"{similarity.psnr(photo, cover):.1f} dB, SSIM {similarity.ssim(photo, cover):.3f} against the cover"
