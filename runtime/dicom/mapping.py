"""What a file says about its grey levels, read and applied: Modality LUT, VOI LUT, padding, palette."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime.arrays import Image
from hidemia.runtime.dicom import elements, intensity, voi
from hidemia.runtime.dicom.pixels import Layout
from hidemia.runtime.dicom.record import Mapping, Range, Table
from hidemia.runtime.dicom.tables import Entries, table
from hidemia.runtime.dicom.voi import Wish
from hidemia.runtime.errors import ImageError

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["colour", "grey", "palette"]


def grey(
    stored: NDArray[Any], dataset: Dataset, frame: int, found: Layout, wish: Wish, name: str
) -> tuple[Image, Mapping]:
    """Map a MONOCHROME frame to grey levels.

    Args:
        stored: (H, W), whole numbers within the bits stored.
        dataset: What says how.
        frame: The frame's number, from 1: enhanced objects say it for each.
        found: The dataset's layout.
        wish: Which window.
        name: The file's name in errors.

    Returns:
        uint8 (H, W, 3), its channels alike, and the record.

    Raises:
        ImageError: The file contradicts itself, or has no such window.
    """
    every = intensity.ramp(found.bits, signed=found.signed)
    offsets = stored.astype(np.int64) - every[0]
    padding = _padding(dataset, found, name)
    is_padding = (every >= padding[0]) & (every <= padding[1]) if padding else np.zeros(len(every), np.bool_)
    present = (np.bincount(offsets.ravel(), minlength=len(every)) > 0) & ~is_padding
    if not present.any():
        raise ImageError(f"{name}: expected an image, got padding alone; choose another frame")
    rescale, lut, entries = _modality(dataset, frame, every, name)
    if lut is not None:
        values = intensity.lookup(every, lut.first, entries)
    else:
        slope, intercept = rescale or (1.0, 0.0)
        values = every.astype(np.float64) * slope + intercept
    plain = lut is None and (rescale or (1.0, 0.0)) == (1.0, 0.0) and found.bits <= 8 and not found.signed
    whole = Range(
        low=0.0 if plain else float(values[present].min()),
        high=float((1 << found.bits) - 1) if plain else float(values[present].max()),
        of="bits" if plain else "frame",
    )
    chosen, chosen_entries = voi.choose(
        elements.group(dataset, frame, "FrameVOILUTSequence"), values, whole, wish, name
    )
    shades = intensity.levels(voi.apply(values, chosen, chosen_entries))
    inverted = _inverted(dataset, found, name)
    if inverted:
        shades = np.uint8(255) - shades
    shades[is_padding] = 0
    image = np.repeat(shades[offsets][..., None], 3, axis=2)
    return image, Mapping(
        photometric_interpretation=found.photometric,
        bits_stored=found.bits,
        signed=found.signed,
        rescale=rescale,
        modality_table=lut,
        voi=chosen,
        inverted=inverted,
        padding=padding,
    )


def colour(pixels: NDArray[Any], found: Layout) -> tuple[Image, Mapping]:
    """Bring RGB (H, W, 3) of any depth to uint8: the whole range of the bits stored, rounded."""
    top = (1 << found.bits) - 1
    image = pixels.astype(np.uint8) if found.bits == 8 else intensity.levels(intensity.stretch(pixels, 0, top))
    return image, Mapping(
        photometric_interpretation=found.photometric,
        bits_stored=found.bits,
        signed=found.signed,
        planar_configuration=found.planar,
    )


def palette(stored: NDArray[Any], dataset: Dataset, found: Layout, name: str) -> tuple[Image, Mapping]:
    """Look a PALETTE COLOR frame (H, W) up in its palette of 8 or 16 bits.

    Raises:
        ImageError: The palette is missing, damaged or transparent.
    """
    from pydicom.pixels.processing import apply_color_lut  # noqa: PLC0415

    try:
        pixels = apply_color_lut(stored, dataset)
    except Exception as error:
        raise ImageError(
            f"{name}: expected a whole palette, got one that is missing or damaged; export it as RGB"
        ) from error
    if pixels.shape[2] != 3:
        raise ImageError(f"{name}: expected a palette of three colours, got {pixels.shape[2]}; export it as RGB")
    return intensity.levels(intensity.stretch(pixels, 0, np.iinfo(pixels.dtype).max)), Mapping(
        photometric_interpretation=found.photometric, bits_stored=found.bits, signed=found.signed
    )


def _padding(dataset: Dataset, found: Layout, name: str) -> tuple[int, int] | None:
    keys = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ends = [value for key in keys for value in elements.integers(dataset, key, name)]
    if not elements.texts(dataset, keys[0]) or len(ends) not in (1, 2):
        return None
    if found.signed:  # some files give the bits of a negative value as a positive one
        ends = [end - (1 << 16) if end >= 1 << 15 else end for end in ends]
    return min(ends), max(ends)


def _inverted(dataset: Dataset, found: Layout, name: str) -> bool:
    inverted = found.photometric == "MONOCHROME1"
    shape = elements.text(dataset, "PresentationLUTShape")
    if shape and shape != ("INVERSE" if inverted else "IDENTITY"):
        raise ImageError(
            f"{name}: expected a Presentation LUT Shape that suits {found.photometric}, got {shape[:20]}; "
            "export it again"
        )
    return inverted


def _modality(
    dataset: Dataset, frame: int, every: Entries, name: str
) -> tuple[tuple[float, float] | None, Table | None, Entries]:
    if dataset.get("ModalityLUTSequence"):
        return None, *table(dataset["ModalityLUTSequence"][0], 1, name, signed=bool(every[0] < 0))
    item = elements.group(dataset, frame, "PixelValueTransformationSequence")
    pair = [elements.numbers(item, key, name) for key in ("RescaleSlope", "RescaleIntercept")]
    if not any(pair):
        return None, None, every
    if [len(values) for values in pair] != [1, 1] or pair[0][0] == 0:
        raise ImageError(
            f"{name}: expected a rescale slope other than 0 and an intercept, got {pair[0]} and {pair[1]}; "
            "export it again"
        )
    return (pair[0][0], pair[1][0]), None, every
