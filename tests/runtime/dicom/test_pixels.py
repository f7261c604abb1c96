from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from hidemia.runtime import ImageError, dicom
from hidemia.runtime.dicom.library import guarded


@pytest.fixture
def grey(rng) -> np.ndarray:
    return rng.integers(0, 256, (40, 50), np.uint8)


def refused(path) -> str:
    with pytest.raises(ImageError) as caught:
        dicom.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_syntax_without_a_decoder_names_the_package(dcm):
    assert refused(dcm.shipped("SC_rgb_jpeg_gdcm.dcm")) == (
        "expected a transfer syntax that is decoded here, got JPEG Lossless, Non-Hierarchical, First-Order Prediction "
        "(Process 14 [Selection Value 1]) (1.2.840.10008.1.2.4.70); pip install pylibjpeg pylibjpeg-libjpeg, or export "
        "it uncompressed"
    )


def test_a_syntax_that_needs_more_than_the_decoder_at_hand(dcm):
    """Pillow decodes this syntax at 8 bits; the file has 12."""
    assert refused(dcm.shipped("JPGExtended.dcm")) == (
        "expected whole pixel data of frame 1 in JPEG Extended (Process 2 and 4) (1.2.840.10008.1.2.4.51), got "
        "damaged, truncated or unknown data; copy it again, or pip install pylibjpeg pylibjpeg-libjpeg"
    )


def test_syntaxes_of_no_image(dcm, grey):
    made = dcm.dataset(grey)
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    with pytest.raises(ImageError, match=r"got MPEG2 Main .* \(1\.2\.840\.10008\.1\.2\.4\.100\), which nothing here"):
        dicom.convert(made)
    assert refused(dcm.shipped("image_dfl.dcm")).endswith("got deflated data; export it uncompressed")
    assert refused(dcm.shipped("meta_missing_tsyntax.dcm")).startswith(
        "expected a transfer syntax in the file's header"
    )


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("rtdose_1frame.dcm", "got a radiotherapy dose; choose another file"),
        ("liver_1frame.dcm", "got a segmentation; choose another file"),
        ("test-SR.dcm", "got one without pixel data, or cut short before it; choose another file"),
        ("rtplan.dcm", "got one without pixel data, or cut short before it; choose another file"),
    ],
)
def test_objects_that_are_no_pictures(dcm, name, got):
    assert refused(dcm.shipped(name)) == f"expected a DICOM image, {got}"


@pytest.mark.parametrize(
    ("attributes", "got"),
    [
        ({"PhotometricInterpretation": "YBR_PARTIAL_420"}, "got YBR_PARTIAL_420 with 1"),
        ({"PhotometricInterpretation": "RGB"}, "got RGB with 1"),
        ({"PhotometricInterpretation": None}, "got none with 1"),
        ({"SamplesPerPixel": None}, "expected one value of SamplesPerPixel, got none"),
        ({"Rows": None}, "expected one value of Rows, got none"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "got 32 allocated, 32 stored, highest 31, representation 0"),
        ({"BitsStored": 9}, "got 8 allocated, 9 stored"),
        ({"BitsStored": 6, "HighBit": 7}, "got 8 allocated, 6 stored, highest 7"),
        ({"PixelRepresentation": 2}, "representation 2"),
        ({"PixelPresentation": "COLOR"}, "got a supplemental palette over them"),
        ({"NumberOfFrames": 0}, "expected at least 1 frame, got 0"),
        ({"Rows": 65000}, "got 50x65000; use a smaller image"),
        ({"Rows": 39, "NumberOfFrames": 2}, "name one with --frame"),
        ({"Rows": 41}, "got damaged, truncated or unknown data; copy it again"),
        ({"Rows": 0}, "expected an image with pixels, got 50x0"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "expected a rescale slope other than 0 and an intercept"),
        ({"RescaleSlope": 2}, "expected a rescale slope other than 0 and an intercept"),
    ],
)
def test_layouts_that_mean_nothing_here(dcm, grey, attributes, got):
    assert got in refused(dcm.make(grey, **attributes))


def test_too_small(dcm, rng):
    assert refused(dcm.make(rng.integers(0, 256, (31, 50), np.uint8))) == (
        "expected at least 32 px a side, got 50x31; use a larger image"
    )


def test_cut_pixel_data(dcm):
    assert "got damaged, truncated or unknown data; copy it again" in refused(dcm.shipped("MR_truncated.dcm"))


@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_rle.dcm", "MR_small_jp2klossless.dcm",
                                  "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm"])  # fmt: skip
def test_every_cut_is_refused(dcm, tmp_path, name):
    whole = dcm.shipped(name).read_bytes()
    data = pydicom.dcmread(dcm.shipped(name)).PixelData
    start = whole.index(data[:64])
    path = tmp_path / "cut.dcm"
    for end in (200, 400, start - 20, start + 10, start + len(data) // 3, start + len(data) * 3 // 4):
        path.write_bytes(whole[:end])
        refused(path)


def test_values_beyond_the_bits_stored(dcm, rng):
    """RLE carries whole bytes; what is above the bits stored is masked, or refused where pydicom does not."""
    made = dcm.dataset(rng.integers(0, 4096, (40, 40), np.uint16), BitsStored=12, HighBit=11)
    made.compress(RLELossless)
    assert dicom.read(dcm.write(made)).source.mapping.bits_stored == 12


def test_failures_and_absent_packages_are_one_line():
    with pytest.raises(ImageError) as caught, guarded("x.dcm", "a DICOM image"):
        raise ModuleNotFoundError("No module named 'pydicom'", name="pydicom")
    assert str(caught.value) == (
        "x.dcm: expected the package pydicom to handle DICOM, got none; pip install 'hidemia[dicom]'"
    )
    assert caught.value.exit_code == 1
    with pytest.raises(ImageError) as caught, guarded("x.dcm", "a DICOM image"):
        raise KeyError("Doe^Jane")
    assert str(caught.value) == (
        "x.dcm: expected a DICOM image, got one that is damaged or breaks the standard (KeyError); export it again"
    )
