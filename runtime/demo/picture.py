"""The picture that explains the system at a glance: who sees what on the way of one scan."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hidemia.runtime.demo.canvas import Canvas, Colour, Pixels

WIDTH, HEIGHT = 1600, 876
SIDE = 244
"""Side of a panel."""
THUMB = 112
"""Side of the photos on the server."""

INK: Colour = (28, 36, 48)
GREY: Colour = (92, 102, 116)
FOUND: Colour = (255, 196, 0)
TRUE: Colour = (60, 220, 120)
DEVICE: tuple[Colour, Colour] = ((234, 243, 252), (58, 120, 190))
WIRE: tuple[Colour, Colour] = ((245, 245, 243), (150, 150, 144))
SERVER: tuple[Colour, Colour] = ((252, 240, 230), (204, 112, 42))

OUTWARD, BACK = 190, 528
"""Top of the panels that show the way to the server, and of those that show the way back."""
LEFT = 46
GAP = 44
WIRED = 686
"""Left side of the first panel on the wire."""
BEYOND = 1332
"""Left side of the server's band."""


@dataclass(frozen=True)
class Journey:
    """One scan's way to the server and back: what was seen on it and how close it came.

    Attributes:
        secret: Medical image, uint8 (H, W, 3), RGB.
        cover: Photo that it was hidden in, same form and size.
        stego: Photo that left the device, same form and size.
        reply: Photo that came back, same form and size.
        result: Mask found on the device, uint8 (H, W), 0 or 255.
        truth: Mask as it should be, same form, if it is known.
        stego_psnr_db: Stego against cover, dB, after PNG.
        stego_ssim: The same as structural similarity, 0 to 1.
        reply_psnr_db: Reply against cover, dB, after PNG.
        reply_ssim: The same as structural similarity, 0 to 1.
        dice: Agreement of result and truth, 0 to 1, if the truth is known.
        veiled: Whether the reply travelled under a veil.
    """

    secret: Pixels
    cover: Pixels
    stego: Pixels
    reply: Pixels
    result: Pixels
    truth: Pixels | None
    stego_psnr_db: float
    stego_ssim: float
    reply_psnr_db: float
    reply_ssim: float
    dice: float | None
    veiled: bool = False


def picture(journey: Journey) -> Pixels:
    """Draw a journey: uint8 (HEIGHT, WIDTH, 3), RGB."""
    page = Canvas(WIDTH, HEIGHT)
    page.text("HideMIA: a scan is analysed inside a photo", (LEFT - 16, 54), INK, height=23, bold=True)
    page.text(
        "The server works on the photo as it is. It never extracts the scan, and it answers with a photo.",
        (LEFT - 16, 88),
        GREY,
        height=12,
    )
    _bands(page, journey)
    _outward(page, journey)
    _back(page, journey)
    page.text(
        "All figures after 8-bit PNG. Differences are signed, around mid grey. Covertness is not encryption.",
        (LEFT - 16, HEIGHT - 14),
        GREY,
        height=10,
    )
    return page.render()


def _bands(page: Canvas, journey: Journey) -> None:
    """Draw the three places and the ways between them."""
    top, tall = 108, HEIGHT - 108 - 36
    places = (
        (LEFT - 20, 2 * SIDE + GAP + 40, "DEVICE", "sees everything", DEVICE),
        (WIRED - 20, 2 * SIDE + GAP + 40, "WIRE", "sees two photos", WIRE),
        (BEYOND, WIDTH - BEYOND - 26, "SERVER", "sees photos", SERVER),
    )
    for left, wide, name, sees, (fill, line) in places:
        page.box((left, top), (wide, tall), fill, line)
        page.text(name, (left + 20, top + 34), line, height=16, bold=True)
        page.text(sees, (left + wide - 20, top + 33), GREY, height=11, align="right", fit=wide - 150)
    device_end, wire_end = LEFT + 2 * SIDE + GAP + 20, WIRED + 2 * SIDE + GAP + 20
    for start, end in ((device_end, WIRED - 20), (wire_end, BEYOND)):
        middle = (start + end) // 2
        for y, way in ((OUTWARD + SIDE // 2, 1), (BACK + SIDE // 2, -1)):
            ends = (start + 8, end - 8)[::way]
            page.arrow((ends[0], y), (ends[1], y), INK)
            if start == device_end:
                page.text("hide" if way > 0 else "recover", (middle, y - 20), INK, height=11, align="centre")
    node = OUTWARD + SIDE // 2 - 26
    wide = WIDTH - BEYOND - 26 - 56
    page.box((BEYOND + 28, node), (wide, BACK - OUTWARD + 52), (255, 255, 255), SERVER[1])
    middle, centre = BEYOND + 28 + wide // 2, (OUTWARD + BACK + SIDE) // 2
    page.text("analyze", (middle, centre - 27), INK, height=17, bold=True, align="centre")
    for number, words in enumerate(("no cover, no scan,", "no recover network")):
        page.text(words, (middle, centre + 10 + 24 * number), GREY, height=11, align="centre")
    # What stands on the server's side is what it has seen, and no more.
    for photo, top in ((journey.stego, node + 20), (journey.reply, BACK + SIDE // 2 + 6 - THUMB)):
        page.image(photo, (middle - THUMB // 2, top), THUMB)


def _outward(page: Canvas, journey: Journey) -> None:
    """Draw what leaves the device: secret and cover become the stego."""
    second = LEFT + SIDE + GAP
    _panel(page, journey.secret, (LEFT, OUTWARD), "secret", "the medical image")
    _panel(page, journey.cover, (second, OUTWARD), "cover", "a photo, never sent")
    page.text("+", (LEFT + SIDE + GAP // 2, OUTWARD + SIDE // 2 + 11), INK, height=22, bold=True, align="centre")
    _panel(page, journey.stego, (WIRED, OUTWARD), "stego", _closeness(journey.stego_psnr_db, journey.stego_ssim))
    seen, factor = amplified(journey.stego, journey.cover)
    corner = (WIRED + SIDE + GAP, OUTWARD)
    _panel(page, seen, corner, f"stego - cover, x{factor}", "needs the cover: device only")


def _back(page: Canvas, journey: Journey) -> None:
    """Draw what returns: the reply, and the result that the device finds in it."""
    _panel(page, journey.reply, (WIRED, BACK), "reply", _closeness(journey.reply_psnr_db, journey.reply_ssim))
    seen, factor = amplified(journey.reply, journey.stego)
    _panel(
        page,
        seen,
        (WIRED + SIDE + GAP, BACK),
        f"reply - stego, x{factor}",
        "the veil: noise without its key" if journey.veiled else "carries the result, if both leak",
    )
    found = "" if journey.dice is None else f"vs truth: Dice {journey.dice:.3f}"
    second = LEFT + SIDE + GAP
    outlined = _outlined(journey.secret, journey.result, FOUND)
    _panel(page, outlined, (second, BACK), "result", found or "outline found on the device", key=FOUND)
    if journey.truth is None:
        mask = np.repeat(journey.result[:, :, None], 3, axis=2)
        _panel(page, mask, (LEFT, BACK), "result as a mask", "the truth is not known")
    else:
        _panel(
            page,
            _outlined(journey.secret, journey.truth, TRUE),
            (LEFT, BACK),
            "truth",
            "known beforehand",
            key=TRUE,
        )


def _panel(
    page: Canvas, pixels: Pixels, corner: tuple[int, int], name: str, note: str, *, key: Colour | None = None
) -> None:
    """Lay out one image with its name above, its note below, and the colour of its outline."""
    page.image(pixels, corner, SIDE)
    page.text(name, (corner[0], corner[1] - 11), INK, height=14, bold=True, fit=SIDE)
    page.text(note, (corner[0], corner[1] + SIDE + 24), INK, height=12, fit=SIDE)
    if key is not None:
        page.box((corner[0] + SIDE - 34, corner[1] - 21), (34, 8), key, key, radius=4)


def _closeness(psnr_db: float, ssim: float) -> str:
    """Say how close a photo is to the cover."""
    return f"vs cover {psnr_db:.1f} dB, SSIM {ssim:.3f}"


def amplified(image: Pixels, other: Pixels) -> tuple[Pixels, int]:
    """Show how two images differ: their signed difference, times a round factor, around mid grey.

    Args:
        image: uint8 (H, W, 3).
        other: Same form.

    Returns:
        uint8 (H, W, 3), and the factor: the largest that keeps 98 % of all values from being cut off.
    """
    difference = image.astype(np.float32) - other.astype(np.float32)
    most = max(float(np.percentile(np.abs(difference), 98)), 1.0)
    factor = max(f for f in (1, 2, 5, 10, 20, 30, 40) if f == 1 or f * most <= 127)
    return np.clip(np.rint(128 + factor * difference), 0, 255).astype(np.uint8), factor


def _outlined(image: Pixels, mask: Pixels, colour: Colour) -> Pixels:
    """Draw a mask's outline over an image, at twice its size so that the line stays fine."""
    large = np.asarray(cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    soft = cv2.GaussianBlur(cv2.resize(mask, None, fx=3, fy=3, interpolation=cv2.INTER_LINEAR), (0, 0), 2)
    above = np.asarray(np.asarray(soft) >= 128, dtype=np.uint8)
    borders = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(large, borders, -1, (0, 0, 0), 9, cv2.LINE_AA)
    cv2.drawContours(large, borders, -1, colour, 5, cv2.LINE_AA)
    return large
