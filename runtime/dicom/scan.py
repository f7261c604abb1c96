"""One secret out of a DICOM file, with the record of how, and its result put back in its place."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from hidemia.runtime import headers
from hidemia.runtime.arrays import Image, check_image
from hidemia.runtime.dicom import elements, mapping, pixels, regions
from hidemia.runtime.dicom.header import header
from hidemia.runtime.dicom.library import guarded
from hidemia.runtime.dicom.pixels import Layout
from hidemia.runtime.dicom.record import Crop, Geometry, Mapping, Range, Source
from hidemia.runtime.dicom.regions import Region
from hidemia.runtime.dicom.voi import Wish
from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

    from hidemia.runtime.result import Result

__all__ = ["Scan", "View", "convert", "frames", "is_dicom", "read"]

logger = logging.getLogger(__name__)

_MAGIC_AT, _MAGIC = 128, b"DICM"
_IMAGE = "a DICOM image"


@dataclass(frozen=True, kw_only=True)
class View:
    """Which part of a file is the secret, and which of its values count.

    Attributes:
        frame: Number of the frame, from 1. May be left out where there is one.
        window: Centre and width in the units of the file (HU in CT), applied as LINEAR; the name of a window or
            table in the file; its number, from 1; or `range` for the least to the greatest value of the frame. None
            takes the file's first window, else its first table, else the range, with a warning.
        region: Number of the ultrasound region, from 1, or `whole` for the whole frame whatever its regions say. May
            be left out where one region shows tissue, or there is none at all.
        allow_burned_in: Take an image that says of itself that text is burned into its pixels.
    """

    frame: int | None = None
    window: Wish = None
    region: int | Literal["whole"] | None = None
    allow_burned_in: bool = False


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What `read` gives.

    Attributes:
        image: The secret: uint8 (H, W, 3), RGB.
        source: The record.
        name: The file's name in errors.
        header: What a result needs to refer to its source: patient, study, series, position. None of it is in `image`.
    """

    image: Image
    source: Source
    name: str
    header: Dataset = field(repr=False)

    def place(self, result: Result) -> Result:
        """Put a result back in the source's frame, and the record beside it.

        Args:
            result: Of this scan, its mask (H, W) at the size of `image`.

        Returns:
            The result, its mask uint8 (rows, columns) of the whole frame, 0 outside the crop.

        Raises:
            ImageError: The mask has another size.
        """
        mask = result.mask
        if mask is not None:
            where = self.source.geometry
            if mask.shape != self.image.shape[:2]:
                raise ImageError(
                    f"mask: expected the size of the scan, {self.image.shape[:2]}, got {mask.shape}; "
                    "recover with the scan's size"
                )
            whole = np.zeros((where.rows, where.columns), np.uint8)
            crop = where.crop
            whole[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width] = mask
            mask = whole
        return dataclasses.replace(result, mask=mask, source=self.source)


def is_dicom(path: str | Path) -> bool:
    """Whether a file has the mark of DICOM; False also where it cannot be read."""
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def read(path: str | Path, view: View | None = None) -> Scan:
    """Read one frame of a DICOM file as a secret.

    Args:
        path: A file with the DICOM mark: CT, MR, US, XA, other grey images, photographs, secondary captures.
        view: Which frame, region and window; the only ones when None.

    Returns:
        The secret and its record.

    Raises:
        ImageError: No such file, damaged, no image, or one that leaves open what is meant: see `View`.
    """
    name = str(path)
    with guarded(name, _IMAGE):
        return _convert(_open(Path(path)), view or View(), name)


def frames(path: str | Path, view: View | None = None) -> Iterator[Scan]:
    """Read every frame of a DICOM file, one after the other.

    Args:
        path: As in `read`.
        view: Its `frame` must be None.

    Raises:
        ImageError: As in `read`; a frame is named, or cannot be read.
    """
    name, view = str(path), view or View()
    if view.frame is not None:
        raise ImageError(f"{name}: expected no frame to be named for all of them, got {view.frame}; leave it out")
    with guarded(name, _IMAGE):
        dataset = _open(Path(path))
        count = pixels.layout(dataset, name).frames
    for frame in range(1, count + 1):
        with guarded(name, _IMAGE):
            scan = _convert(dataset, dataclasses.replace(view, frame=frame), name)
        yield scan


def convert(dataset: Dataset, view: View | None = None, *, name: str = "dataset") -> Scan:
    """As `read`, of a pydicom dataset that is in memory with its file meta information.

    Raises:
        ImageError: As in `read`.
    """
    with guarded(name, _IMAGE):
        pixels.check_syntax(str(dataset.file_meta.TransferSyntaxUID), name)
        return _convert(dataset, view or View(), name)


def _open(path: Path) -> Dataset:
    import pydicom  # noqa: PLC0415  an extra, and slow to import
    from pydicom.filereader import read_file_meta_info  # noqa: PLC0415

    try:
        size_bytes = path.stat().st_size
        if size_bytes > pixels.FILE.max_bytes:
            raise ImageError(
                f"{path}: expected at most {pixels.FILE.max_bytes} bytes, got {size_bytes}; use a smaller file"
            )
        if not is_dicom(path):
            headers.read(path.read_bytes(), str(path))  # says what it is, unless it is a picture
            raise ImageError(f"{path}: expected a DICOM file, got a picture; name a DICOM file")
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if not syntax:
            raise ImageError(f"{path}: expected a transfer syntax in the file's header, got none; export it again")
        pixels.check_syntax(str(syntax), str(path))
        return pydicom.dcmread(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ImageError(f"{path}: expected a readable DICOM file, got: {reason}; check the path") from None


def _convert(dataset: Dataset, view: View, name: str) -> Scan:
    found = pixels.layout(dataset, name)
    frame = _frame(found, view.frame, name)
    annotation = _burned_in(dataset, view, name)
    region = _region(dataset, found, view, name)
    stored = pixels.decode(dataset, frame, found, name)
    if found.is_colour:
        image, how = mapping.colour(stored, found)
    elif found.photometric == "PALETTE COLOR":
        image, how = mapping.palette(stored, dataset, found, name)
    else:
        image, how = mapping.grey(stored, dataset, frame, found, view.window, name)
    if how.voi is None and view.window is not None:
        raise ImageError(f"{name}: expected no window for a colour image, got {view.window}; leave it out")
    _warn(how, view, name)
    where = _geometry(dataset, found, frame, region, name)
    crop = where.crop
    image = np.ascontiguousarray(image[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width])
    source = Source(
        sop_class_uid=elements.text(dataset, "SOPClassUID"),
        sop_instance_uid=elements.text(dataset, "SOPInstanceUID") or None,
        modality=elements.text(dataset, "Modality"),
        transfer_syntax=str(dataset.file_meta.TransferSyntaxUID),
        burned_in_annotation=annotation,
        geometry=where,
        mapping=how,
    )
    return Scan(image=check_image(image, name), source=source, name=name, header=header(dataset, frame))


def _frame(found: Layout, wanted: int | None, name: str) -> int:
    if wanted is None and found.frames > 1:
        raise ImageError(f"{name}: expected one frame, got {found.frames}; name one with --frame, from 1")
    if wanted is not None and not 1 <= wanted <= found.frames:
        raise ImageError(f"{name}: expected a frame from 1 to {found.frames}, got {wanted}; name one of these")
    return wanted or 1


def _region(dataset: Dataset, found: Layout, view: View, name: str) -> Region | None:
    if view.region == regions.WHOLE:
        return None
    return regions.choose(regions.list_regions(dataset, found.rows, found.columns, name), view.region, name)


def _burned_in(dataset: Dataset, view: View, name: str) -> Literal["YES", "NO", "missing"]:
    said = elements.text(dataset, "BurnedInAnnotation").upper()
    if said in ("", "NO"):
        return "NO" if said else "missing"
    if not view.allow_burned_in:
        raise ImageError(
            f"{name}: expected pixels without burned-in text, got BurnedInAnnotation {said[:16]}: it may name the "
            "patient; export it without, or allow it with --allow-burned-in"
        )
    return "YES"


def _warn(how: Mapping, view: View, name: str) -> None:
    if isinstance(how.voi, Range) and how.voi.of == "frame" and view.window is None:
        logger.warning(
            "%s: no window in the file: took the frame's whole range, %g to %g; give one with --window",
            name,
            how.voi.low,
            how.voi.high,
        )


def _geometry(dataset: Dataset, found: Layout, frame: int, region: Region | None, name: str) -> Geometry:
    aspect = elements.integers(dataset, "PixelAspectRatio", name)
    spacing, said_by = (region.spacing_mm, "SequenceOfUltrasoundRegions") if region else (None, "")
    measures = elements.group(dataset, frame, "PixelMeasuresSequence")
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        values = elements.numbers(measures, keyword, name)
        if spacing is None and len(values) == 2 and min(values) > 0:
            spacing, said_by = (values[0], values[1]), keyword
    return Geometry(
        rows=found.rows,
        columns=found.columns,
        frame=frame,
        frames=found.frames,
        region=region.number if region else None,
        crop=region.crop if region else Crop(left=0, top=0, width=found.columns, height=found.rows),
        spacing_mm=spacing,
        spacing_from=said_by if spacing else None,
        aspect_ratio=(aspect[0], aspect[1]) if len(aspect) == 2 else None,
    )
