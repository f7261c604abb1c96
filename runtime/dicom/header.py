"""What a result has to know of its source: whose it is, which object, and where it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hidemia.runtime.dicom import elements

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["PATIENT_AND_STUDY", "header"]

PATIENT_AND_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""What every object of a study has, if only empty."""

_MORE_OF_THE_STUDY = (
    "StudyInstanceUID",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)

_INSTANCE = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "DeviceSerialNumber",
    "InstitutionName",
)

_POSITION = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
}


def header(dataset: Dataset, frame: int) -> Dataset:
    """Copy those attributes of one frame, written as those of a single-frame image."""
    import pydicom  # noqa: PLC0415  an extra, and slow to import

    copied = pydicom.Dataset()
    for keyword in (*PATIENT_AND_STUDY, *_MORE_OF_THE_STUDY, *_INSTANCE):
        if keyword in dataset:
            copied[keyword] = dataset[keyword]
    for sequence, keywords in _POSITION.items():
        item = elements.group(dataset, frame, sequence)
        for keyword in keywords:
            if keyword in item:
                copied[keyword] = item[keyword]
    return copied
