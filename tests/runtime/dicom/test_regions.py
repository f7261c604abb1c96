from __future__ import annotations

import pytest

from hidemia.runtime import ImageError
from hidemia.runtime.dicom.record import Crop
from hidemia.runtime.dicom.regions import choose, list_regions


def listed(dcm, *regions, rows=100, columns=200):
    return list_regions(dcm.item(SequenceOfUltrasoundRegions=list(regions)), rows, columns, "us.dcm")


def test_no_regions(dcm):
    assert list_regions(dcm.item(), 100, 200, "us.dcm") == []
    assert choose([], None, "us.dcm") is None


def test_corners_belong_to_the_region(dcm):
    (region,) = listed(dcm, dcm.region(10, 20, 109, 79))
    assert region.crop == Crop(left=10, top=20, width=100, height=60)
    assert region.tissue
    assert region.spacing_mm is None


def test_a_corner_one_beyond_the_frame_is_its_edge(dcm):
    (region,) = listed(dcm, dcm.region(0, 0, 200, 100))
    assert region.crop == Crop(left=0, top=0, width=200, height=100)


def test_spacing_from_centimetres(dcm):
    units = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    (region,) = listed(dcm, dcm.region(0, 0, 99, 49, PhysicalDeltaX=-0.02, PhysicalDeltaY=0.03, **units))
    assert region.spacing_mm == pytest.approx((0.3, 0.2))


@pytest.mark.parametrize("corners", [(-1, 0, 9, 9), (0, 0, 201, 9), (0, 0, 9, 101), (9, 0, 9, 9), (0, 9, 9, 3)])
def test_regions_outside_the_frame_are_refused(dcm, corners):
    made = dcm.item()
    made.update(dcm.region(0, 0, 1, 1))
    for keyword, value in zip(("MinX0", "MinY0", "MaxX1", "MaxY1"), corners, strict=True):
        made[f"RegionLocation{keyword}"].VR = "SL"
        made[f"RegionLocation{keyword}"].value = value
    left, top, right, bottom = corners
    with pytest.raises(ImageError) as caught:
        listed(dcm, made)
    assert str(caught.value) == (
        f"us.dcm: expected ultrasound region 1 inside 200x100, got {left},{top} to {right},{bottom}; export it again, "
        "or take the whole frame (--region whole)"
    )


def test_a_region_without_a_corner_is_refused(dcm):
    made = dcm.region(0, 0, 9, 9)
    del made.RegionLocationMaxX1
    with pytest.raises(ImageError, match="expected one value of RegionLocationMaxX1, got none"):
        listed(dcm, made)


def test_the_only_tissue_is_taken(dcm):
    regions = listed(
        dcm,
        dcm.region(0, 0, 9, 9, spatial=3),  # a spectral display
        dcm.region(50, 0, 149, 99),
        dcm.region(60, 10, 80, 30, data=2),  # colour flow
    )
    assert choose(regions, None, "us.dcm") is regions[1]
    assert choose(regions, 2, "us.dcm") is regions[1]


def test_of_several_one_must_be_named(dcm):
    regions = listed(dcm, dcm.region(0, 0, 99, 99), dcm.region(0, 0, 9, 9, data=9), dcm.region(100, 0, 199, 99))
    with pytest.raises(ImageError) as caught:
        choose(regions, None, "us.dcm")
    assert str(caught.value) == (
        "us.dcm: expected one ultrasound region of 2D tissue, got 1, 3 of 3; name one, "
        "or take the whole frame (--region whole)"
    )
    assert choose(regions, 3, "us.dcm") is regions[2]


@pytest.mark.parametrize("wanted", [2, 4])
def test_a_named_region_must_be_tissue_and_there(dcm, wanted):
    regions = listed(dcm, dcm.region(0, 0, 99, 99), dcm.region(0, 0, 9, 9, data=9), dcm.region(100, 0, 199, 99))
    with pytest.raises(ImageError) as caught:
        choose(regions, wanted, "us.dcm")
    assert str(caught.value) == (
        f"us.dcm: expected the number of an ultrasound region of 2D tissue (1, 3 of 3), got {wanted}; name one of these"
    )


def test_regions_without_tissue_are_refused(dcm):
    with pytest.raises(ImageError, match="got none of 1; name one of another image, or take the whole frame"):
        choose(listed(dcm, dcm.region(0, 0, 99, 99, spatial=2)), None, "us.dcm")
    with pytest.raises(ImageError, match=r"\(none of 0\), got 1"):
        choose([], 1, "us.dcm")
