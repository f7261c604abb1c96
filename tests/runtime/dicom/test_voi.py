from __future__ import annotations

import numpy as np
import pytest

from hidemia.runtime import ImageError
from hidemia.runtime.dicom import intensity, voi
from hidemia.runtime.dicom.record import Range, Table, Window

VALUES = intensity.ramp(12, signed=False).astype(np.float64)
WHOLE = Range(low=3, high=900, of="frame")


def choose(item, wish=None, values=VALUES):
    return voi.choose(item, values, WHOLE, wish, "x.dcm")


@pytest.fixture
def windows(dcm):
    return dcm.item(
        WindowCenter=[40, -600], WindowWidth=[400, 1500], WindowCenterWidthExplanation=["SOFT", "LUNG"],
        VOILUTFunction="LINEAR_EXACT",
    )  # fmt: skip


@pytest.fixture
def tables(dcm):
    entries = np.arange(0, 1024, 2, dtype="<u2")
    made = [
        dcm.item(
            LUTDescriptor=[512, 100, 10], LUTExplanation=name, LUTData=(entries if up else entries[::-1]).tobytes()
        )
        for name, up in (("UP", True), ("DOWN", False))
    ]
    for item in made:
        item["LUTData"].VR = "OW"
    return dcm.item(VOILUTSequence=made)


SOFT = Window(center=40, width=400, function="LINEAR_EXACT", index=1, name="SOFT")
LUNG = Window(center=-600, width=1500, function="LINEAR_EXACT", index=2, name="LUNG")


def test_nothing_said_is_the_whole_range(dcm):
    assert choose(dcm.item()) == (WHOLE, None)
    assert choose(dcm.item(WindowCenter=None, WindowWidth=None)) == (WHOLE, None)


@pytest.mark.parametrize(("wish", "window"), [(None, SOFT), (1, SOFT), (2, LUNG), ("LUNG", LUNG), ("SOFT", SOFT)])
def test_the_first_by_number_by_name(windows, wish, window):
    assert choose(windows, wish) == (window, None)


def test_the_range_by_name(windows):
    assert choose(windows, "range") == (WHOLE, None)


def test_values_of_the_callers_own(windows):
    window, _ = choose(windows, (50.0, 350.0))
    assert window == Window(center=50, width=350, function="LINEAR", index=None, name=None)


@pytest.mark.parametrize("wish", [0, 3, "BONE"])
def test_a_window_that_is_not_there(windows, wish):
    with pytest.raises(ImageError) as caught:
        choose(windows, wish)
    assert str(caught.value) == (
        f"x.dcm: expected one of the file's windows (1 SOFT, 2 LUNG), got {wish}; name one of these"
    )


def test_tables_where_there_is_no_window(tables):
    table, entries = choose(tables)
    assert table == Table(first=100, entries=512, bits=10, index=1, name="UP")
    assert choose(tables, 2)[0].name == choose(tables, "DOWN")[0].name == "DOWN"
    levels = voi.apply(np.array([0, 100, 101, 611, 4095]), table, entries)
    assert levels.tolist() == pytest.approx([0, 0, 2 / 1023 * 255, 1022 / 1023 * 255, 1022 / 1023 * 255])


def test_windows_go_before_tables(windows, tables):
    windows.VOILUTSequence = tables.VOILUTSequence
    assert choose(windows) == (SOFT, None)
    assert choose(windows, "DOWN")[0].name == "DOWN"
    assert choose(windows, 2) == (LUNG, None)
    windows.WindowCenter, windows.WindowWidth, windows.WindowCenterWidthExplanation = 40, 400, "SOFT"
    with pytest.raises(ImageError, match=r"expected one of the file's windows \(1 SOFT\), got 2"):
        choose(windows, 2)


def test_a_window_as_pydicom_applies_its_table(tables, dcm):
    """pydicom leaves the entries as they are; ours are brought to 0..255."""
    from pydicom.pixels import processing

    tables.file_meta = dcm.dataset(np.zeros((4, 4), np.uint8)).file_meta
    stored = np.arange(0, 4096, 7, dtype=np.uint16)
    table, entries = choose(tables, 2)
    reference = processing.apply_voi(stored, tables, index=1)
    assert np.allclose(voi.apply(stored, table, entries), reference / 1023 * 255)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"WindowCenter": 5, "WindowWidth": 0}, "expected a window at least 1 wide for LINEAR, got centre 5, width 0"),
        ({"WindowCenter": 5, "WindowWidth": 0.5}, "expected a window at least 1 wide for LINEAR"),
        (
            {"WindowCenter": 5, "WindowWidth": -1, "VOILUTFunction": "SIGMOID"},
            "expected a window at least 0 wide for SIGMOID",
        ),
        ({"WindowCenter": [1, 2], "WindowWidth": 9}, "got 2 centres, 1 widths"),
        ({"WindowCenter": 5}, "got 1 centres, 0 widths"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "got 1 centres, 1 widths, CUBIC"),
    ],
)
def test_windows_that_mean_nothing(dcm, attributes, message):
    with pytest.raises(ImageError) as caught:
        choose(dcm.item(**attributes))
    assert message in str(caught.value)
    assert "; give a window of your own" in str(caught.value)


@pytest.mark.parametrize("window", [(0.0, 0.0), (float("nan"), 9.0), (0.0, float("inf"))])
def test_impossible_values_of_the_callers_own(dcm, window):
    with pytest.raises(ImageError, match="expected a window at least 1 wide for LINEAR"):
        choose(dcm.item(), window)
