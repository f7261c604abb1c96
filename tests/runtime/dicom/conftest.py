"""DICOM files: those that pydicom ships, and small ones made here."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


def shipped(name: str) -> Path:
    """A file inside pydicom's wheel; never one that it would download."""
    path = get_testdata_file(name, download=False)
    assert path is not None, name
    return Path(path)


def dataset(pixels: np.ndarray, **attributes) -> pydicom.Dataset:
    """A grey (H, W) or (N, H, W), or with `colour` (H, W, 3) or (N, H, W, 3) image; None leaves an attribute out."""
    colour = attributes.get("SamplesPerPixel", 1) == 3
    shape = pixels.shape[:-1] if colour else pixels.shape
    values = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.3.4",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.3",
        "Modality": "CT",
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "Rows": shape[-2],
        "Columns": shape[-1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if colour else {}),
        **({"NumberOfFrames": shape[0]} if len(shape) == 3 else {}),
        **attributes,
    }
    values.setdefault("HighBit", values["BitsStored"] - 1)
    made = pydicom.Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(made, keyword, value)
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"] or CT
    made.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"] or "1.2.3.4"
    return made


def item(**attributes) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def region(left: int, top: int, right: int, bottom: int, *, spatial: int = 1, data: int = 1, **more) -> pydicom.Dataset:
    """One ultrasound region; 2D tissue unless told otherwise."""
    return item(
        RegionSpatialFormat=spatial,
        RegionDataType=data,
        RegionLocationMinX0=left,
        RegionLocationMinY0=top,
        RegionLocationMaxX1=right,
        RegionLocationMaxY1=bottom,
        **more,
    )


@contextlib.contextmanager
def lenient():
    """pydicom checks what is written; these tests write what it would refuse."""
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        pydicom.config.settings.writing_validation_mode = before


@pytest.fixture
def dcm(tmp_path) -> SimpleNamespace:
    """The helpers of this file, which tests cannot import."""

    def write(made: pydicom.Dataset, name: str = "x.dcm") -> Path:
        with lenient():
            made.save_as(tmp_path / name, enforce_file_format=True)
        return tmp_path / name

    def make(pixels: np.ndarray, name: str = "x.dcm", **attributes) -> Path:
        with lenient():
            return write(dataset(pixels, **attributes), name)

    return SimpleNamespace(
        make=make, write=write, dataset=dataset, item=item, region=region, shipped=shipped, ultrasound=ULTRASOUND
    )
