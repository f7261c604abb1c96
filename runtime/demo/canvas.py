"""A drawing surface for diagrams, on nothing but OpenCV."""

from __future__ import annotations

from functools import cache
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Colour: TypeAlias = tuple[int, int, int]

FINER = 3
"""Shapes and letters are drawn this much larger and scaled down: OpenCV's own smoothing looks ragged."""


class Canvas:
    """A white page; positions and sizes in its pixels, x to the right and y down, colours in RGB."""

    def __init__(self, width: int, height: int) -> None:
        self._page: Pixels = np.full((height * FINER, width * FINER, 3), 255, dtype=np.uint8)
        self._images: list[tuple[int, int, Pixels]] = []

    def box(self, corner: tuple[int, int], size: tuple[int, int], fill: Colour, line: Colour, radius: int = 14) -> None:
        """Draw a filled rectangle with round corners, `size` as (width, height)."""
        for grown, colour in ((0, line), (-2, fill)):
            left, top = (FINER * (c - grown) for c in corner)
            right, bottom = (FINER * (c + s + grown) for c, s in zip(corner, size, strict=True))
            bend = FINER * (radius + grown)
            cv2.rectangle(self._page, (left + bend, top), (right - bend, bottom), colour, -1)
            cv2.rectangle(self._page, (left, top + bend), (right, bottom - bend), colour, -1)
            for x in (left + bend, right - bend):
                for y in (top + bend, bottom - bend):
                    cv2.circle(self._page, (x, y), bend, colour, -1, cv2.LINE_AA)

    def arrow(self, start: tuple[int, int], end: tuple[int, int], colour: Colour, width: int = 4) -> None:
        """Draw a horizontal arrow from `start` to `end`."""
        way = 1 if end[0] > start[0] else -1
        head = 4 * width
        y = start[1] * FINER
        neck = (end[0] - way * head) * FINER
        half = width * FINER // 2
        left, right = sorted((start[0] * FINER, neck))
        cv2.rectangle(self._page, (left, y - half), (right, y + half), colour, -1)
        tip = np.array([[end[0] * FINER, y], [neck, y - head * FINER // 2], [neck, y + head * FINER // 2]], np.int32)
        cv2.fillConvexPoly(self._page, tip, colour, cv2.LINE_AA)

    def text(
        self,
        words: str,
        at: tuple[int, int],
        colour: Colour,
        *,
        height: int = 13,
        bold: bool = False,
        align: Literal["left", "centre", "right"] = "left",
        fit: int | None = None,
    ) -> None:
        """Write one line of ASCII.

        Args:
            words: What to write.
            at: Where its base line starts, is centred or ends, as `align` says.
            colour: Colour of the letters.
            height: Height of a capital letter.
            bold: Draw thicker strokes.
            align: What `at` marks.
            fit: Widest that the line may become; its letters shrink to keep to it.
        """
        scale = height * FINER / _capital()
        thick = max(2, round(height * FINER / (6.5 if bold else 10)))
        width = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)[0][0]
        if fit is not None and width > fit * FINER:
            scale *= fit * FINER / width
            width = fit * FINER
        x = at[0] * FINER - {"left": 0, "centre": width // 2, "right": width}[align]
        corner = (x, at[1] * FINER)
        cv2.putText(self._page, words, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thick, cv2.LINE_AA)

    def image(self, pixels: Pixels, corner: tuple[int, int], side: int) -> None:
        """Lay an image into a square of `side`, as large as its shape allows; uint8 (H, W, 3)."""
        rows, columns = pixels.shape[:2]
        share = side / max(rows, columns)
        size = (max(1, round(columns * share)), max(1, round(rows * share)))
        way = cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
        scaled = np.asarray(cv2.resize(pixels, size, interpolation=way), dtype=np.uint8)
        self._images.append((corner[0] + (side - size[0]) // 2, corner[1] + (side - size[1]) // 2, scaled))

    def render(self) -> Pixels:
        """Give the page: uint8 (height, width, 3), RGB. Images lie above shapes and letters."""
        height, width = (side // FINER for side in self._page.shape[:2])
        page = np.asarray(cv2.resize(self._page, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
        for x, y, pixels in self._images:
            page[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
        return page


@cache
def _capital() -> float:
    """Measure a capital letter's height at scale 1: versions of OpenCV draw this font at different sizes."""
    scale, page = 8.0, np.zeros((400, 400), dtype=np.uint8)
    cv2.putText(page, "H", (50, 350), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1)
    return float(np.count_nonzero(page.any(axis=1))) / scale
