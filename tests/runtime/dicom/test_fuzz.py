"""Damaged DICOM files give a result or an `ImageError`, nothing else: no other exception, no warning, no hang."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hidemia.runtime import ImageError, dicom
from hidemia.runtime.dicom import View

FILES = ["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_rgb_color.dcm",
         "MR_small_jp2klossless.dcm"]  # fmt: skip
# What this package or pydicom's decoder reads of a header, each with a value of its own kind or of another.
KEYWORDS = ["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
            "PlanarConfiguration", "NumberOfFrames", "PhotometricInterpretation", "WindowCenter", "WindowWidth",
            "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "PixelAspectRatio",
            "PixelSpacing", "BurnedInAnnotation", "PresentationLUTShape", "SOPClassUID", "StudyTime",
            "PatientName"]  # fmt: skip
VALUES = st.one_of(
    st.integers(0, 65535),
    st.sampled_from(["", "0", "-1", "1e400", "nan", "1\\2", "YES", "MONOCHROME1", "RGB", "YBR_FULL_422", "SIGMOID"]),
    st.text(st.characters(codec="latin-1"), max_size=12),
)
BOUNDED = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def attempt(path, client) -> None:
    message = None
    try:
        scan = dicom.read(path, View(frame=1, allow_burned_in=True))
        where = scan.source.geometry
        dicom.segmentation(np.zeros((where.rows, where.columns), np.uint8), scan, client)
    except ImageError as error:
        message = str(error)
    if message is None:
        assert scan.image.dtype == np.uint8
        assert scan.image.shape == (where.crop.height, where.crop.width, 3)
    else:
        assert message.startswith(str(path))
        assert "\n" not in message


def changed(path, keyword: str, value: int | str) -> bytes:
    """The file with another value in one attribute, in its place in the bytes: pydicom would not write them all."""
    dataset = pydicom.dcmread(path)
    tag = pydicom.datadict.tag_for_keyword(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    stream = io.BytesIO()
    if "US" in vr:
        dataset.add(pydicom.DataElement(tag, "US", value if isinstance(value, int) else len(value)))
        dataset.save_as(stream, enforce_file_format=True)
        return stream.getvalue()
    dataset.add(pydicom.DataElement(tag, "LO", "@" * 16))
    dataset.save_as(stream, enforce_file_format=True)
    text = str(value).encode("latin-1")[:16].ljust(16)
    return stream.getvalue().replace(b"LO\x10\0" + b"@" * 16, vr.encode() + b"\x10\0" + text)


@BOUNDED
@given(name=st.sampled_from(FILES), keyword=st.sampled_from(KEYWORDS), value=VALUES)
def test_changed_headers(dcm, client, tmp_path, name, keyword, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, at what is made here
        data = changed(dcm.shipped(name), keyword, value)
    path = tmp_path / "x.dcm"
    path.write_bytes(data)
    attempt(path, client)


@BOUNDED
@given(name=st.sampled_from(FILES), data=st.data())
def test_flipped_bytes_and_cuts(dcm, client, tmp_path, name, data):
    whole = bytearray(dcm.shipped(name).read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(132, min(len(whole), 4000) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(whole)), st.integers(132, len(whole))))
    path = tmp_path / "x.dcm"
    path.write_bytes(whole[:end])
    attempt(path, client)


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_whole_before_they_are_damaged(dcm, name):
    assert dicom.read(dcm.shipped(name)).image.size
