from __future__ import annotations

import hashlib

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from hidemia.runtime import ImageError, dicom
from hidemia.runtime.dicom import Equipment, View


@pytest.fixture
def manifest(client):
    return client.manifest


@pytest.fixture
def written(tmp_path, client):
    """Write a mask as SEG and read it with highdicom."""

    def written(mask, scan, **settings):
        (tmp_path / "seg.dcm").write_bytes(dicom.segmentation(mask, scan, client, **settings))
        return highdicom.seg.segread(tmp_path / "seg.dcm")

    return written


def blob(scan) -> np.ndarray:
    mask = np.zeros((scan.source.geometry.rows, scan.source.geometry.columns), np.uint8)
    mask[7:19, 11:30] = 255
    mask[8, 12] = 0
    return mask


SHIPPED = ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "examples_rgb_color.dcm", "SC_rgb_rle.dcm",
           "ExplVR_BigEnd.dcm", "examples_overlay.dcm"]  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_the_same_mask_at_the_same_place(dcm, written, name):
    """ExplVR_BigEnd.dcm has a study time with colons and its class is retired: both are handled on purpose."""
    scan = dicom.read(dcm.shipped(name))
    seg = written(blob(scan), scan)
    source = pydicom.dcmread(dcm.shipped(name))
    found = seg.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)
    assert np.array_equal(found[0], blob(scan) // 255)
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.PatientName == source.get("PatientName", "")
    reference = seg.SourceImageSequence[0]
    assert (reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID) == (
        source.SOPClassUID,
        source.SOPInstanceUID,
    )


def test_the_position_in_the_patient(dcm, written):
    scan = dicom.read(dcm.shipped("CT_small.dcm"))
    seg, source = written(blob(scan), scan), pydicom.dcmread(dcm.shipped("CT_small.dcm"))
    shared, own = seg.SharedFunctionalGroupsSequence[0], seg.PerFrameFunctionalGroupsSequence[0]
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert own.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == source.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == source.PixelSpacing


def test_without_a_position_there_is_no_frame_of_reference(dcm, written, rng):
    scan = dicom.read(dcm.make(rng.integers(0, 255, (40, 40), np.uint8), FrameOfReferenceUID="1.2.9"))
    assert "FrameOfReferenceUID" not in written(blob(scan), scan)


def test_a_frame_of_many_and_the_crop(dcm, written, rng):
    cine = rng.integers(0, 256, (3, 60, 80, 3), np.uint8)
    path = dcm.make(
        cine,
        SamplesPerPixel=3,
        Modality="US",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
        SequenceOfUltrasoundRegions=[dcm.region(10, 20, 59, 55)],
    )
    scan = dicom.read(path, View(frame=2))
    seg = written(blob(scan), scan)
    assert np.array_equal(seg.pixel_array, blob(scan) // 255)
    derivation = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    reference = derivation.SourceImageSequence[0]
    assert reference.ReferencedFrameNumber == 2
    assert reference.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"
    found = seg.get_pixels_by_source_frame("1.2.3.4", [2], combine_segments=True)
    assert np.array_equal(found[0], blob(scan) // 255)


def test_an_empty_mask_is_one_empty_frame(dcm, written):
    scan = dicom.read(dcm.shipped("CT_small.dcm"))
    seg = written(np.zeros((128, 128), np.uint8), scan)
    assert seg.NumberOfFrames == 1
    assert not seg.pixel_array.any()


def test_who_found_it(dcm, written, model, manifest):
    scan = dicom.read(dcm.shipped("CT_small.dcm"))
    device = Equipment(manufacturer="Cart Works", model="C-9", serial_number="0042", software_version="7.1")
    seg = written(blob(scan), scan, equipment=device)
    segment = seg.SegmentSequence[0]
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    digest = hashlib.sha256((model.client / "manifest.json").read_bytes()).hexdigest()
    assert segment.SegmentLabel == "lesion"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"
    assert algorithm.AlgorithmName == "HideMIA tiny"
    assert algorithm.AlgorithmSource == "HideMIA"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert algorithm.AlgorithmVersion == manifest.exporter["hidemia"]
    assert algorithm.AlgorithmParameters == f"manifest_sha256={digest},pair_id={manifest.pair_id},threshold=0.5"
    assert "Cart Works" in [item.Manufacturer for item in seg.ContributingEquipmentSequence]
    assert seg.DeviceSerialNumber == digest[:16]


def test_the_same_but_for_uids_and_times(dcm, client, tmp_path):
    scan = dicom.read(dcm.shipped("CT_small.dcm"))
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(dicom.segmentation(blob(scan), scan, client))
        seg = pydicom.dcmread(tmp_path / name)
        for keyword in ("InstanceCreationTime", "ContentTime", "InstanceCreationDate", "ContentDate"):
            delattr(seg, keyword)
        own = {seg.SOPInstanceUID, seg.SeriesInstanceUID, seg.DimensionOrganizationSequence[0].DimensionOrganizationUID}
        assert all(isinstance(uid, UID) and uid.is_valid for uid in own)
        text = str(seg)
        for uid in own:
            text = text.replace(uid, "own")
        # highdicom stamps itself as equipment, with the time.
        texts.append([line for line in text.splitlines() if "Contribution DateTime" not in line])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_source_that_nothing_can_refer_to(dcm, client, rng, keyword):
    path = dcm.make(rng.integers(0, 255, (40, 40), np.uint8), **{keyword: None})
    scan = dicom.read(path)
    with pytest.raises(ImageError) as caught:
        dicom.segmentation(blob(scan), scan, client)
    assert str(caught.value) == (f"{path}: expected {keyword} for a DICOM SEG to refer to, got none; ask for .json")


def test_a_mask_of_another_size(dcm, client):
    scan = dicom.read(dcm.shipped("CT_small.dcm"))
    with pytest.raises(ImageError, match=r"mask: expected \(128, 128\) as the frame, got \(64, 64\); place it first"):
        dicom.segmentation(np.zeros((64, 64), np.uint8), scan, client)
