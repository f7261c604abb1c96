from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array, processing
from pydicom.uid import RLELossless

from hidemia.runtime import ImageError, Integrity, Result, dicom
from hidemia.runtime.dicom import View
from hidemia.runtime.dicom.record import Crop, Geometry, Mapping, Range, Window
from hidemia.runtime.scaling import Scaling


@pytest.fixture
def ramp() -> np.ndarray:
    """64 x 64 values from -1024 to 3071."""
    return (np.arange(4096, dtype=np.int16) - 1024).reshape(64, 64)


@pytest.fixture
def cine(rng) -> np.ndarray:
    return rng.integers(0, 256, (3, 60, 80, 3), np.uint8)


def rounded(levels: np.ndarray) -> np.ndarray:
    return np.rint(levels).astype(np.uint8)


# What pydicom ships, against pydicom's own functions.


def test_ct_with_rescale_and_a_window_of_ones_own(dcm):
    path = dcm.shipped("CT_small.dcm")
    scan = dicom.read(path, View(window=(40.0, 400.0)))
    dataset = pydicom.dcmread(path)
    hounsfield = processing.apply_modality_lut(dataset.pixel_array, dataset)
    expected = np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.array_equal(scan.image[..., 0], rounded(expected))
    assert np.array_equal(scan.image[..., 0], scan.image[..., 2])
    assert scan.source.mapping == Mapping(
        photometric_interpretation="MONOCHROME2",
        bits_stored=16,
        signed=True,
        rescale=(1.0, -1024.0),
        voi=Window(center=40, width=400, function="LINEAR", index=None, name=None),
        padding=(-2000, -2000),
    )
    assert scan.source.geometry == Geometry(
        rows=128,
        columns=128,
        frame=1,
        frames=1,
        region=None,
        crop=Crop(left=0, top=0, width=128, height=128),
        spacing_mm=(0.661468, 0.661468),
        spacing_from="PixelSpacing",
        aspect_ratio=None,
    )
    assert scan.source.modality == "CT"
    assert scan.source.burned_in_annotation == "missing"


MR = ["MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_padded.dcm",
      "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_expb.dcm"]  # fmt: skip


@pytest.mark.parametrize("name", MR)
def test_mr_with_its_window_in_every_encoding(dcm, name):
    dataset = pydicom.dcmread(dcm.shipped("MR_small.dcm"))
    reference = processing.apply_windowing(dataset.pixel_array, dataset)
    scan = dicom.read(dcm.shipped(name))
    assert np.array_equal(scan.image[..., 0], rounded((reference + 32768) / 65535 * 255))
    assert scan.source.mapping.voi == Window(center=600, width=1600, function="LINEAR", index=1, name=None)


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_rle.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "examples_rgb_color.dcm",
             "ExplVR_BigEnd.dcm", "SC_rgb_jpeg_dcmtk.dcm", "examples_jpeg2k.dcm"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, in the reference
def test_colours_as_pydicom_decodes_them(dcm, name):
    path = dcm.shipped(name)
    scan = dicom.read(path)
    assert np.array_equal(scan.image, pixel_array(path))
    assert scan.source.mapping.voi is None


def test_planar_and_interleaved_are_one(dcm, cine):
    by_pixel = dicom.read(dcm.make(cine[0], SamplesPerPixel=3))
    planes = np.moveaxis(cine[0], 2, 0).copy().reshape(60, 80, 3)  # the same bytes in another order
    by_plane = dicom.read(dcm.make(planes, SamplesPerPixel=3, PlanarConfiguration=1))
    assert np.array_equal(by_pixel.image, cine[0])
    assert np.array_equal(by_plane.image, cine[0])
    assert [scan.source.mapping.planar_configuration for scan in (by_pixel, by_plane)] == [0, 1]


def test_colours_of_16_bits(dcm):
    scan = dicom.read(dcm.shipped("SC_rgb_rle_16bit.dcm"))
    deep = pixel_array(dcm.shipped("SC_rgb_rle_16bit.dcm"))
    assert np.array_equal(scan.image, rounded(deep / 65535 * 255))


def test_palette(dcm, rng):
    """The palette of a shipped ultrasound on an image of our own: that file's region lies outside its frame."""
    shipped = pydicom.dcmread(dcm.shipped("examples_palette.dcm"))
    with pytest.raises(ImageError, match="expected ultrasound region 1 inside 800x350"):
        dicom.read(dcm.shipped("examples_palette.dcm"))
    stored = rng.integers(0, 256, (50, 70), np.uint8)
    made = dcm.dataset(stored, PhotometricInterpretation="PALETTE COLOR", Modality="US", SOPClassUID=dcm.ultrasound)
    for colour in ("Red", "Green", "Blue"):
        for part in ("Descriptor", "Data"):
            keyword = f"{colour}PaletteColorLookupTable{part}"
            made[keyword] = shipped[keyword]
    scan = dicom.read(dcm.write(made))
    reference = processing.apply_color_lut(stored, shipped)
    assert np.array_equal(scan.image, rounded(reference / 65535 * 255))
    del made.BluePaletteColorLookupTableData
    with pytest.raises(ImageError, match="expected a whole palette, got one that is missing or damaged"):
        dicom.read(dcm.write(made))


# Grey levels, made here.


def test_monochrome1_is_turned_over(dcm, ramp):
    window = {"WindowCenter": 1024, "WindowWidth": 4096}
    bright = dicom.read(dcm.make(ramp, **window))
    dark = dicom.read(dcm.make(ramp, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **window))
    assert np.array_equal(dark.image, 255 - bright.image)
    assert dark.source.mapping.inverted
    assert not bright.source.mapping.inverted


def test_a_presentation_that_contradicts_is_refused(dcm, ramp):
    with pytest.raises(ImageError, match="expected a Presentation LUT Shape that suits MONOCHROME2, got INVERSE"):
        dicom.read(dcm.make(ramp, PresentationLUTShape="INVERSE"))


def test_without_a_window_the_range_of_the_frame_and_a_warning(dcm, ramp, caplog):
    scan = dicom.read(dcm.make(ramp))
    assert scan.source.mapping.voi == Range(low=-1024, high=3071, of="frame")
    assert np.array_equal(scan.image[..., 0], rounded((ramp.astype(float) + 1024) / 4095 * 255))
    assert "no window in the file: took the frame's whole range, -1024 to 3071" in caplog.text
    caplog.clear()
    asked = dicom.read(dcm.make(ramp, WindowCenter=0, WindowWidth=9), View(window="range"))
    assert np.array_equal(asked.image, scan.image)
    assert not caplog.text


def test_8_bits_without_a_window_stay_as_they_are(dcm, rng):
    stored = rng.integers(3, 99, (40, 50), np.uint8)
    scan = dicom.read(dcm.make(stored))
    assert np.array_equal(scan.image[..., 1], stored)
    assert scan.source.mapping.voi == Range(low=0, high=255, of="bits")


def test_padding_is_black_and_counts_for_nothing(dcm, ramp):
    ramp[:5] = -2000
    ramp[5] = -1999
    for attributes in ({"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1999},):
        for kind, shape in (("MONOCHROME2", "IDENTITY"), ("MONOCHROME1", "INVERSE")):
            scan = dicom.read(dcm.make(ramp, PhotometricInterpretation=kind, PresentationLUTShape=shape, **attributes))
            assert (scan.image[:6] == 0).all()
            assert scan.source.mapping.padding == (-2000, -1999)
            assert scan.source.mapping.voi == Range(low=float(ramp[6, 0]), high=3071, of="frame")


def test_nothing_but_padding_is_refused(dcm):
    path = dcm.make(np.full((40, 40), 7, np.uint16), PixelPaddingValue=7)
    with pytest.raises(ImageError, match="expected an image, got padding alone"):
        dicom.read(path)


def test_bits_above_those_stored_are_not_looked_at(dcm):
    """12 bits stored, an old overlay in the 4 above them."""
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    plain = dicom.read(dcm.make(stored, BitsStored=12, HighBit=11))
    overlaid = dicom.read(dcm.make(stored | 0xA000, BitsStored=12, HighBit=11))
    assert np.array_equal(plain.image, overlaid.image)
    assert plain.image[..., 0].max() == 255


def test_modality_table_as_pydicom_applies_it(dcm):
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    entry = dcm.item(LUTDescriptor=[256, 100, 16], LUTData=(np.arange(256, dtype="<u2") ** 2 % 60000).tobytes())
    entry["LUTData"].VR = "OW"
    made = dcm.dataset(stored, ModalityLUTSequence=[entry], WindowCenter=20000, WindowWidth=30000)
    made.ModalityLUTSequence[0].ModalityLUTType = "OD"
    scan = dicom.read(dcm.write(made))
    values = processing.apply_modality_lut(stored, made).astype(float)
    assert np.array_equal(scan.image[..., 0], rounded(np.clip((values - 19999.5) / 29999 + 0.5, 0, 1) * 255))
    assert scan.source.mapping.modality_table.entries == 256
    assert scan.source.mapping.rescale is None


def test_enhanced_objects_say_it_for_each_frame(dcm, ramp):
    both = np.stack([ramp, ramp[::-1]])
    groups = [
        dcm.item(
            FrameVOILUTSequence=[dcm.item(WindowCenter=center, WindowWidth=500)],
            PixelValueTransformationSequence=[dcm.item(RescaleSlope=slope, RescaleIntercept=3)],
        )
        for center, slope in ((100, 1), (900, 2))
    ]
    shared = dcm.item(PixelMeasuresSequence=[dcm.item(PixelSpacing=[0.5, 0.25], SliceThickness=1)])
    path = dcm.make(both, PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=[shared])
    second = dicom.read(path, View(frame=2))
    assert second.source.mapping.voi == Window(center=900, width=500, function="LINEAR", index=1, name=None)
    assert second.source.mapping.rescale == (2.0, 3.0)
    assert second.source.geometry.spacing_mm == (0.5, 0.25)
    values = ramp[::-1].astype(float) * 2 + 3
    assert np.array_equal(second.image[..., 0], rounded(np.clip((values - 899.5) / 499 + 0.5, 0, 1) * 255))


# Frames, regions, text.


def test_one_frame_of_many_must_be_named(dcm, cine):
    path = dcm.make(cine, SamplesPerPixel=3)
    with pytest.raises(ImageError) as caught:
        dicom.read(path)
    assert str(caught.value) == f"{path}: expected one frame, got 3; name one with --frame, from 1"
    assert np.array_equal(dicom.read(path, View(frame=3)).image, cine[2])
    for frame in (0, 4):
        with pytest.raises(ImageError, match=f"expected a frame from 1 to 3, got {frame}"):
            dicom.read(path, View(frame=frame))


def test_every_frame_in_turn(dcm, cine):
    path = dcm.make(cine, SamplesPerPixel=3)
    scans = list(dicom.frames(path))
    assert [scan.source.geometry.frame for scan in scans] == [1, 2, 3]
    assert all(np.array_equal(scan.image, frame) for scan, frame in zip(scans, cine, strict=True))
    with pytest.raises(ImageError, match="expected no frame to be named for all of them, got 2"):
        next(dicom.frames(path, View(frame=2)))


@pytest.mark.parametrize("compress", [False, True])
def test_ultrasound_is_cropped_to_its_tissue(dcm, cine, compress):
    made = dcm.dataset(
        cine,
        SamplesPerPixel=3,
        Modality="US",
        SOPClassUID=dcm.ultrasound,
        SequenceOfUltrasoundRegions=[dcm.region(10, 20, 59, 55), dcm.region(0, 0, 9, 9, spatial=3)],
    )
    if compress:
        made.compress(RLELossless)
    scan = dicom.read(dcm.write(made), View(frame=2))
    assert np.array_equal(scan.image, cine[1, 20:56, 10:60])
    assert scan.source.geometry.crop == Crop(left=10, top=20, width=50, height=36)
    assert scan.source.geometry.region == 1
    assert (scan.source.geometry.rows, scan.source.geometry.columns) == (60, 80)


def test_a_multi_frame_ultrasound_that_pydicom_ships(dcm):
    """It was made smaller and kept its region, which no longer fits: taken whole, by name."""
    path = dcm.shipped("examples_ybr_color.dcm")
    with pytest.raises(ImageError, match="expected one frame, got 30"):
        dicom.read(path)
    with pytest.raises(ImageError, match="expected ultrasound region 1 inside 320x240, got 84,31 to 595,414"):
        dicom.read(path, View(frame=30))
    scan = dicom.read(path, View(frame=30, region="whole"))
    assert np.array_equal(scan.image, pixel_array(path, index=29))
    assert scan.source.geometry.crop == Crop(left=0, top=0, width=320, height=240)
    assert scan.source.modality == "US"
    assert scan.source.burned_in_annotation == "missing"


def test_text_in_the_pixels_must_be_allowed(dcm, rng):
    stored = rng.integers(0, 256, (40, 40), np.uint8)
    for said in ("YES", "PERHAPS"):
        path = dcm.make(stored, BurnedInAnnotation=said)
        with pytest.raises(ImageError) as caught:
            dicom.read(path)
        assert str(caught.value) == (
            f"{path}: expected pixels without burned-in text, got BurnedInAnnotation {said}: it may name the "
            "patient; export it without, or allow it with --allow-burned-in"
        )
        assert dicom.read(path, View(allow_burned_in=True)).source.burned_in_annotation == "YES"
    assert dicom.read(dcm.make(stored, BurnedInAnnotation="NO")).source.burned_in_annotation == "NO"


def test_a_window_for_colours_is_refused(dcm, cine):
    with pytest.raises(ImageError, match="expected no window for a colour image"):
        dicom.read(dcm.make(cine[0], SamplesPerPixel=3), View(window=(1.0, 2.0)))


def test_a_dataset_in_memory(dcm, ramp):
    made = dcm.dataset(ramp, WindowCenter=0, WindowWidth=100)
    assert np.array_equal(dicom.convert(made).image, dicom.read(dcm.write(made)).image)


def test_notes_on_the_shape_of_pixels(dcm, rng):
    stored = rng.integers(0, 256, (40, 40), np.uint8)
    where = dicom.read(dcm.make(stored, PixelAspectRatio=[4, 3], ImagerPixelSpacing=[0.2, 0.3])).source.geometry
    assert where.aspect_ratio == (4, 3)
    assert (where.spacing_mm, where.spacing_from) == ((0.2, 0.3), "ImagerPixelSpacing")


# Files that are none.


def test_other_files_are_named(tmp_path, dcm):
    (tmp_path / "text.dcm").write_text("hello\n")
    cases = {
        tmp_path / "none.dcm": "expected a readable DICOM file, got: No such file or directory; check the path",
        tmp_path / "text.dcm": "expected a PNG, JPEG, BMP or TIFF image, got text; check the file",
    }
    for path, message in cases.items():
        with pytest.raises(ImageError) as caught:
            dicom.read(path)
        assert str(caught.value) == f"{path}: {message}"
        assert not dicom.is_dicom(path)
    assert dicom.is_dicom(dcm.shipped("CT_small.dcm"))


def test_reading_is_quiet(dcm, caplog, capfd):
    """pydicom warns of this file, and quotes it; our own warning of a window is the only line."""
    caplog.set_level(logging.DEBUG)
    dicom.read(dcm.shipped("MR_small_padded.dcm"))
    assert not [record for record in caplog.records if not record.name.startswith("hidemia")]
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("pydicom").level != logging.CRITICAL + 1


# Back into the frame.


@pytest.fixture
def result() -> Result:
    mask = np.zeros((36, 50), np.uint8)
    mask[5:9, 7:21] = 255
    return Result(
        task="segmentation",
        classes=("lesion",),
        probability=np.zeros((64, 64), np.float32),
        mask=mask,
        label=None,
        integrity=Integrity(psnr_db=40, changed_share=0.5, low_change=0.2),
        scaling=Scaling(36, 50, 64),
    )


def test_a_result_is_placed_in_the_frame(dcm, cine, result):
    path = dcm.make(cine[0], SamplesPerPixel=3, SequenceOfUltrasoundRegions=[dcm.region(10, 20, 59, 55)])
    scan = dicom.read(path)
    placed = scan.place(result)
    expected = np.zeros((60, 80), np.uint8)
    expected[25:29, 17:31] = 255
    assert np.array_equal(placed.mask, expected)
    assert placed.source is scan.source
    with pytest.raises(ImageError, match=r"mask: expected the size of the scan, \(36, 50\), got \(60, 80\)"):
        scan.place(placed)


def test_a_class_keeps_its_record(dcm, ramp, result):
    scan = dicom.read(dcm.make(ramp))
    placed = scan.place(dataclasses.replace(result, task="classification", mask=None, label="lesion"))
    assert (placed.mask, placed.source) == (None, scan.source)
