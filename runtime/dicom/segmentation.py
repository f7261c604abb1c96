"""A mask as DICOM SEG: written on the hospital's side, after recovery, beside the image that it belongs to."""

from __future__ import annotations

import copy
import io
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from hidemia.runtime.dicom.header import PATIENT_AND_STUDY
from hidemia.runtime.dicom.library import guarded
from hidemia.runtime.errors import ImageError
from hidemia.runtime.manifest import Manifest

if TYPE_CHECKING:
    from pydicom import Dataset

    from hidemia.runtime.arrays import Image
    from hidemia.runtime.client import Client
    from hidemia.runtime.dicom.scan import Scan

__all__ = ["Equipment", "segmentation"]

_MAKER = "HideMIA"

# highdicom decides by the storage class what to copy and what to demand. It knows no retired class, and takes no
# single frame out of many: so it is shown the frame as a secondary capture, and the references are put right after.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SPATIAL = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")

# Name of a class -> its code in SNOMED CT. A class that is not listed is called tissue: a false finding is worse.
_TYPES = {"lesion": "Lesion", "nodule": "Nodule", "tumor": "Neoplasm", "tumour": "Neoplasm"}


# DICOM's LO and SH.
_Long = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\\\x00-\x1f]*$")]
_Short = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[^\\\x00-\x1f]*$")]


class Equipment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The device that made the trip, for the Contributing Equipment Sequence: 64 characters each, 16 for `station`."""

    manufacturer: _Long
    model: _Long | None = None
    serial_number: _Long | None = None
    software_version: _Long | None = None
    institution: _Long | None = None
    station: _Short | None = None


def segmentation(
    mask: Image,
    scan: Scan,
    client: Client,
    *,
    equipment: Equipment | None = None,
    series_number: int = 1000,
) -> bytes:
    """Write a mask as a binary DICOM SEG of one segment.

    It has the geometry of the source's frame and refers to it, names the model, its manifest's SHA-256 and its pair
    id, and is the same each time but for its own UIDs and times. A mask of an empty finding is one empty frame.

    Args:
        mask: uint8 (rows, columns) of the source's whole frame, 0 or 255; see `Scan.place`.
        scan: What the mask was found in.
        client: What recovered it, for the model, its manifest's hash and the name of its class.
        equipment: The device, if it shall be named.
        series_number: Of the new series.

    Returns:
        The file's bytes, explicit little endian.

    Raises:
        ImageError: The mask has another shape, or the source lacks what a SEG must refer to.
    """
    where = scan.source.geometry
    if mask.shape != (where.rows, where.columns):
        raise ImageError(
            f"mask: expected ({where.rows}, {where.columns}) as the frame, got {mask.shape}; place it first"
        )
    missing = [keyword for keyword in _NEEDED if not scan.header.get(keyword)]
    if missing:
        raise ImageError(f"{scan.name}: expected {missing[0]} for a DICOM SEG to refer to, got none; ask for .json")
    with guarded(scan.name, "patient, study and position that a DICOM SEG can take over"):
        seg = _segmentation(mask, scan, client, equipment, series_number)
        _refer(seg, scan)
        stream = io.BytesIO()
        seg.save_as(stream, enforce_file_format=True)
        return stream.getvalue()


def _segmentation(mask: Image, scan: Scan, client: Client, equipment: Equipment | None, series_number: int) -> Dataset:
    import highdicom  # noqa: PLC0415  an extra, and slow to import
    from highdicom.seg import Segmentation, SegmentationTypeValues  # noqa: PLC0415

    manifest, digest = client.manifest, client.manifest_sha256
    software = _version()
    seg: Dataset = Segmentation(
        source_images=[_source(scan)],
        pixel_array=(mask > 0).astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(manifest, digest)],
        series_instance_uid=highdicom.UID(),
        series_number=series_number,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=f"{_MAKER} runtime",
        software_versions=software,
        device_serial_number=digest[:16],  # software has none; the model tells one from another
        content_label="SEGMENTATION",
        content_description=f"{_label(manifest)} by {_MAKER} {manifest.name}; research use"[:64],
        series_description=f"{_MAKER} {manifest.name}"[:64],
        omit_empty_frames=False,
        contributing_equipment=_contributing(equipment),
    )
    return seg


def _source(scan: Scan) -> Dataset:
    """The header as an image that highdicom takes for the source."""
    image = copy.deepcopy(scan.header)
    for keyword in (*PATIENT_AND_STUDY, "Modality"):
        if keyword not in image:
            setattr(image, keyword, "")
    # PS3.5 6.2 wants readers to take the separators of old dates and times, and writers to leave them out.
    image.StudyDate = str(image.StudyDate or "").replace(".", "")
    image.StudyTime = str(image.StudyTime or "").replace(":", "")
    image.Rows, image.Columns = scan.source.geometry.rows, scan.source.geometry.columns
    image.SOPClassUID = _SECONDARY_CAPTURE
    # Without all of these a frame of reference says nothing, and highdicom reads no spacing without a thickness. The
    # reference to the source's pixels says where the mask is all the same.
    if not all(image.get(keyword) for keyword in _SPATIAL):
        for keyword in ("FrameOfReferenceUID", *_SPATIAL):
            if keyword in image:
                del image[keyword]
    return image


def _refer(seg: Dataset, scan: Scan) -> None:
    """Put the true storage class, and the number of the frame, into the references to the source."""
    instance = [item for series in seg.ReferencedSeriesSequence for item in series.ReferencedInstanceSequence]
    derived: list[Any] = [
        item
        for group in seg.PerFrameFunctionalGroupsSequence
        for derivation in group.DerivationImageSequence
        for item in derivation.SourceImageSequence
    ]
    for item in (*seg.SourceImageSequence, *instance, *derived):
        item.ReferencedSOPClassUID = scan.header.SOPClassUID
    if scan.source.geometry.frames > 1:
        for item in derived:
            item.ReferencedFrameNumber = scan.source.geometry.frame


def _description(manifest: Manifest, digest: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence  # noqa: PLC0415
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    label = _label(manifest)
    known = _TYPES.get(label.lower())
    category = codes.SCT.MorphologicallyAbnormalStructure if known else codes.SCT.Tissue
    parameters = {"manifest_sha256": digest, "pair_id": manifest.pair_id, "threshold": f"{manifest.mask_threshold}"}
    return SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=category,
        segmented_property_type=getattr(codes.SCT, known or "Tissue"),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=f"{_MAKER} {manifest.name}"[:64],
            family=codes.cid7162.ArtificialIntelligence,
            version=manifest.exporter.get("hidemia", "unknown"),
            source=_MAKER,
            parameters=parameters,
        ),
    )


def _label(manifest: Manifest) -> str:
    """The class that the mask outlines: with a background in the list, it comes first."""
    return manifest.classes[-1][:64]


def _contributing(equipment: Equipment | None) -> Any:
    from highdicom import ContributingEquipment  # noqa: PLC0415
    from pydicom.sr.codedict import codes  # noqa: PLC0415

    if equipment is None:
        return None
    return [
        ContributingEquipment(
            equipment.manufacturer,
            codes.DCM.ProcessingEquipment,
            manufacturer_model_name=equipment.model,
            software_versions=equipment.software_version,
            device_serial_number=equipment.serial_number,
            institution_name=equipment.institution,
            station_name=equipment.station,
        )
    ]


def _version() -> str:
    try:
        return version("hidemia")
    except PackageNotFoundError:
        return "unknown"
