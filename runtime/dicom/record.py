"""What is recorded of a DICOM source: where its pixels came from and how they became 8 bits."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

__all__ = ["Crop", "Function", "Geometry", "Mapping", "Range", "Source", "Table", "Window"]

Function: TypeAlias = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]


class Crop(Struct, frozen=True, kw_only=True):
    """A rectangle of the source's frame, in px; `left` and `top` count from 0."""

    left: int
    top: int
    width: int
    height: int


class Geometry(Struct, frozen=True, kw_only=True):
    """Where in the source the secret lies.

    Attributes:
        rows: Height of the source's frame.
        columns: Its width.
        frame: Number of the frame, from 1, as DICOM counts.
        frames: How many there are.
        region: Number of the ultrasound region, from 1; None when the whole frame was taken.
        crop: What was taken; the whole frame where there is no region.
        spacing_mm: From one row to the next and from one column to the next, where the file says so.
        spacing_from: The attribute that said it.
        aspect_ratio: Pixel Aspect Ratio, vertical to horizontal. Noted only: pixels are never resampled for it.
    """

    rows: int
    columns: int
    frame: int
    frames: int
    region: int | None
    crop: Crop
    spacing_mm: tuple[float, float] | None
    spacing_from: str | None
    aspect_ratio: tuple[int, int] | None


class Window(Struct, frozen=True, kw_only=True, tag="window", tag_field="kind"):
    """A window, in the units that the Modality LUT gives.

    Attributes:
        index: Its number in the file, from 1; None when the caller gave the values.
        name: Its explanation in the file.
    """

    center: float
    width: float
    function: Function
    index: int | None
    name: str | None


class Table(Struct, frozen=True, kw_only=True, tag="table", tag_field="kind"):
    """A lookup table of the file: `entries` values of `bits` bits, the first for the input `first`."""

    first: int
    entries: int
    bits: int
    index: int
    name: str | None


class Range(Struct, frozen=True, kw_only=True, tag="range", tag_field="kind"):
    """The line from `low` to 0 and `high` to 255.

    Attributes:
        of: `bits`, what the stored bits can say (8-bit images without a window); `frame`, the least and the
            greatest value of this frame, padding left out.
    """

    low: float
    high: float
    of: Literal["bits", "frame"]


class Mapping(Struct, frozen=True, kw_only=True):
    """How stored values became 0..255, in the order in which it was done.

    Attributes:
        photometric_interpretation: As the file says.
        bits_stored: Bits of a stored value.
        signed: Whether they are in two's complement.
        planar_configuration: 0 by pixel, 1 by plane; None for one sample a pixel.
        rescale: Slope and intercept of the Modality LUT; None where there are none.
        modality_table: Or its table.
        voi: Window, table or range; None in colour.
        inverted: MONOCHROME1: the least value is the brightest.
        padding: Least and greatest stored value that was no image and became black.
    """

    photometric_interpretation: str
    bits_stored: int
    signed: bool
    planar_configuration: int | None = None
    rescale: tuple[float, float] | None = None
    modality_table: Table | None = None
    voi: Window | Table | Range | None = None
    inverted: bool = False
    padding: tuple[int, int] | None = None


class Source(Struct, frozen=True, kw_only=True):
    """The record of one secret from a DICOM file. It stays on the device; no part of it is in the photo.

    Attributes:
        sop_class_uid: What kind of object it was.
        sop_instance_uid: Which one; None where the file has none.
        modality: CT, MR, US ...
        transfer_syntax: UID of the encoding of its pixels.
        burned_in_annotation: What the file says of text in the pixels; `missing` says nothing either way, which
            for ultrasound is worth a look.
    """

    sop_class_uid: str
    sop_instance_uid: str | None
    modality: str
    transfer_syntax: str
    burned_in_annotation: Literal["YES", "NO", "missing"]
    geometry: Geometry
    mapping: Mapping
