"""Decoding one frame of a DICOM file to its stored values, or to RGB."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import headers
from hidemia.runtime.dicom import elements
from hidemia.runtime.errors import ImageError
from hidemia.runtime.headers import Header, Limits

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["FILE", "Layout", "check_syntax", "decode", "layout"]

FILE = Limits(max_side_px=16384, max_pixels=100_000_000, max_bytes=1 << 30)
"""A file may hold many frames; the limits on pixels are those of one."""

_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Objects that have pixels but are no pictures of a patient.
_NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a radiotherapy dose",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "tiles of a whole slide",
}

_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Layout:
    """How a file stores its frames.

    Attributes:
        bits: Bits stored of a value.
        signed: Whether values are in two's complement.
        planar: Planar Configuration; None for one sample a pixel.
    """

    rows: int
    columns: int
    frames: int
    photometric: str
    bits: int
    signed: bool
    planar: int | None

    @property
    def is_colour(self) -> bool:
        """Three samples a pixel; a palette is one."""
        return self.photometric in _COLOUR


def check_syntax(uid: str, name: str) -> None:
    """See that a package is installed that decodes a transfer syntax.

    Raises:
        ImageError: None is, or the syntax is none of images.
    """
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415
    from pydicom.uid import UID  # noqa: PLC0415

    syntax = UID(uid)
    if not syntax.is_valid or uid == _DEFLATED:
        # A few deflated bytes may stand for gigabytes, and pydicom inflates before anything can be checked.
        got = "deflated data" if uid == _DEFLATED else f"transfer syntax {uid[:64]!r}"
        raise ImageError(f"{name}: expected the transfer syntax of an image, got {got}; export it uncompressed")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ImageError(
            f"{name}: expected the transfer syntax of an image, got {syntax.name} ({uid}), which nothing here decodes; "
            "export it uncompressed"
        ) from None
    if not decoder.is_available:
        raise ImageError(
            f"{name}: expected a transfer syntax that is decoded here, got {syntax.name} ({uid}); "
            f"{_packages(decoder)}, or export it uncompressed"
        )


def layout(dataset: Dataset, name: str) -> Layout:
    """Read how the frames are stored, and refuse what is no picture or not understood.

    Raises:
        ImageError: No pixels, no picture, too large, or stored in a way that has no meaning here.
    """
    kind = elements.text(dataset, "SOPClassUID")
    if "PixelData" not in dataset or kind in _NO_PICTURES:
        got = _NO_PICTURES.get(kind) or "one without pixel data, or cut short before it"
        raise ImageError(f"{name}: expected a DICOM image, got {got}; choose another file")
    found = _layout(dataset, name)
    headers.check(Header("DICOM", found.columns, found.rows), 0, FILE, name)
    return found


def decode(dataset: Dataset, frame: int, found: Layout, name: str) -> NDArray[Any]:
    """Decode one frame.

    Args:
        dataset: With pixel data.
        frame: Its number, from 1.
        found: The dataset's `layout`.
        name: The file's name in errors.

    Returns:
        (H, W) of stored values, or (H, W, 3) in RGB, of an integer dtype, within the bits stored.

    Raises:
        ImageError: The pixel data are damaged, cut short, or of a kind that the installed packages do not decode.
    """
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415

    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    try:
        array, meta = decoder.as_array(dataset, index=frame - 1)
    except Exception as error:
        advice = "copy it again" + (f", or {_packages(decoder)}" if syntax.is_encapsulated else "")
        raise ImageError(
            f"{name}: expected whole pixel data of frame {frame} in {syntax.name} ({syntax}), got damaged, truncated "
            f"or unknown data; {advice}"
        ) from error
    shape = (found.rows, found.columns, 3) if found.is_colour else (found.rows, found.columns)
    low, high = (-(1 << found.bits - 1), (1 << found.bits - 1) - 1) if found.signed else (0, (1 << found.bits) - 1)
    decoded = str(meta["photometric_interpretation"])
    if array.shape != shape or (found.is_colour and decoded != "RGB"):
        raise ImageError(
            f"{name}: expected pixel data of {shape} as the header says, got {array.shape} in {decoded}; "
            "export it again"
        )
    if array.dtype.kind not in "iu" or int(array.min()) < low or int(array.max()) > high:
        raise ImageError(
            f"{name}: expected values of {found.bits} bits as the header says, got {array.min()} to {array.max()}; "
            "export it again"
        )
    return np.asarray(array)


def _layout(dataset: Dataset, name: str) -> Layout:
    photometric = elements.text(dataset, "PhotometricInterpretation")
    samples = elements.integer(dataset, "SamplesPerPixel", name)
    allocated, bits = (elements.integer(dataset, key, name) for key in ("BitsAllocated", "BitsStored"))
    high_bit = elements.integer(dataset, "HighBit", name, bits - 1)
    signed = elements.integer(dataset, "PixelRepresentation", name)
    frames = elements.integer(dataset, "NumberOfFrames", name, 1)
    if photometric not in (*_GREY, *_COLOUR) or samples != (3 if photometric in _COLOUR else 1):
        raise ImageError(
            f"{name}: expected one of {', '.join(_GREY)} with 1 sample a pixel or {', '.join(_COLOUR)} with 3, "
            f"got {photometric[:40] or 'none'} with {samples}; export it as one of these"
        )
    if allocated not in (8, 16) or not 1 <= bits <= allocated or high_bit != bits - 1 or signed not in (0, 1):
        raise ImageError(
            f"{name}: expected values of 8 or 16 bits, the lowest of them stored, got {allocated} allocated, {bits} "
            f"stored, highest {high_bit}, representation {signed}; export it again"
        )
    if photometric in _COLOUR and signed:
        raise ImageError(f"{name}: expected unsigned colours, got signed ones; export it again")
    if elements.text(dataset, "PixelPresentation") in ("COLOR", "MIXED"):
        raise ImageError(
            f"{name}: expected colours in the pixels, got a supplemental palette over them; export it as RGB"
        )
    if frames < 1:
        raise ImageError(f"{name}: expected at least 1 frame, got {frames}; export it again")
    return Layout(
        rows=elements.integer(dataset, "Rows", name),
        columns=elements.integer(dataset, "Columns", name),
        frames=frames,
        photometric=photometric,
        bits=bits,
        signed=bool(signed),
        planar=elements.integer(dataset, "PlanarConfiguration", name, 0) if samples == 3 else None,
    )


def _packages(decoder: Any) -> str:
    """How to get a package that pydicom would decode with but does not find."""
    missing = [text.partition("requires ")[2] for text in decoder.missing_dependencies]
    chosen = next((text for text in missing if "pylibjpeg" in text), "")
    names = re.findall(r"pylibjpeg[-\w]*", chosen)
    return f"pip install {' '.join(names)}" if names else "use another program to decode it"
