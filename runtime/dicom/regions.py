"""Ultrasound regions: the part of the frame that is tissue, without the rulers and texts around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hidemia.runtime.dicom import elements
from hidemia.runtime.dicom.record import Crop
from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["WHOLE", "Region", "choose", "list_regions"]

WHOLE: Literal["whole"] = "whole"
"""In place of a region's number: the whole frame, whatever its regions say."""

_TWO_DIMENSIONAL, _TISSUE = 1, 1  # PS3.3 C.8.5.5.1.1 and C.8.5.5.1.2
_CENTIMETRE = 3


@dataclass(frozen=True)
class Region:
    """One item of SequenceOfUltrasoundRegions.

    Attributes:
        number: Its place, from 1.
        crop: Where it lies.
        tissue: Whether it shows tissue in two dimensions, as the analyzers expect.
        spacing_mm: Row and column, where it says so.
    """

    number: int
    crop: Crop
    tissue: bool
    spacing_mm: tuple[float, float] | None


def list_regions(dataset: Dataset, rows: int, columns: int, name: str) -> list[Region]:
    """Read the regions of a frame of `rows` x `columns`; none where the file has none.

    Raises:
        ImageError: A corner is missing or lies outside the frame.
    """
    items = dataset.get("SequenceOfUltrasoundRegions") or []
    return [_region(item, number, rows, columns, name) for number, item in enumerate(items, start=1)]


def choose(regions: list[Region], wanted: int | None, name: str) -> Region | None:
    """Take the region that was asked for, or the only one of tissue.

    Args:
        regions: All of the file.
        wanted: A region's number, from 1; None leaves it to the file.
        name: The file's name in errors.

    Returns:
        The region; None where the file has no regions and none was asked for.

    Raises:
        ImageError: Several show tissue and none was named, none does, or the one named does not or is not there.
    """
    tissue = [region for region in regions if region.tissue]
    numbers = ", ".join(str(region.number) for region in tissue) or "none"
    if wanted is not None:
        found = [region for region in tissue if region.number == wanted]
        if not found:
            raise ImageError(
                f"{name}: expected the number of an ultrasound region of 2D tissue ({numbers} of {len(regions)}), "
                f"got {wanted}; name one of these"
            )
        return found[0]
    if regions and len(tissue) != 1:
        raise ImageError(
            f"{name}: expected one ultrasound region of 2D tissue, got {numbers if tissue else 'none'} of "
            f"{len(regions)}; "
            f"name one{'' if tissue else ' of another image'}, or take the whole frame (--region {WHOLE})"
        )
    return tissue[0] if tissue else None


def _region(item: Dataset, number: int, rows: int, columns: int, name: str) -> Region:
    left, top, right, bottom = (
        elements.integer(item, f"RegionLocation{corner}", name) for corner in ("MinX0", "MinY0", "MaxX1", "MaxY1")
    )
    # Corners are pixels of the region. Some scanners write the first pixel beyond it, which here is outside by 1.
    if not (0 <= left < right <= columns and 0 <= top < bottom <= rows):
        raise ImageError(
            f"{name}: expected ultrasound region {number} inside {columns}x{rows}, "
            f"got {left},{top} to {right},{bottom}; export it again, or take the whole frame (--region {WHOLE})"
        )
    width, height = min(right, columns - 1) - left + 1, min(bottom, rows - 1) - top + 1
    return Region(
        number=number,
        crop=Crop(left=left, top=top, width=width, height=height),
        tissue=elements.integer(item, "RegionSpatialFormat", name, 0) == _TWO_DIMENSIONAL
        and elements.integer(item, "RegionDataType", name, 0) == _TISSUE,
        spacing_mm=_spacing(item, name),
    )


def _spacing(item: Dataset, name: str) -> tuple[float, float] | None:
    units = [elements.integer(item, f"PhysicalUnits{axis}Direction", name, 0) for axis in "YX"]
    deltas = [abs(value) for axis in "YX" for value in elements.numbers(item, f"PhysicalDelta{axis}", name)]
    if units != [_CENTIMETRE, _CENTIMETRE] or len(deltas) != 2 or min(deltas) == 0:
        return None
    return deltas[0] * 10, deltas[1] * 10
