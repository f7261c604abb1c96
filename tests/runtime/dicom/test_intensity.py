from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import processing

from hidemia.runtime.dicom import intensity


@pytest.mark.parametrize(
    ("bits", "signed", "ends"), [(8, False, (0, 255)), (12, True, (-2048, 2047)), (16, True, (-32768, 32767))]
)
def test_the_ramp_is_every_stored_value(bits, signed, ends):
    values = intensity.ramp(bits, signed=signed)
    assert len(values) == 1 << bits
    assert (values[0], values[-1]) == ends
    assert (np.diff(values) == 1).all()


def test_linear_by_hand():
    """Centre 2048, width 4096: the standard's own example gives 0 for 0 and below, 255 for 4095 and above."""
    got = intensity.window(np.array([-5, 0, 2047, 2048, 4095, 5000]), 2048, 4096)
    assert got.tolist() == pytest.approx([0, 0, 127.468864, 127.531136, 255, 255])


def test_linear_of_one_value_is_a_threshold():
    """Centre 10, width 1: up to 9.5 black, beyond white."""
    assert intensity.window(np.array([9, 9.5, 9.6, 10]), 10, 1).tolist() == [0, 0, 255, 255]


def test_linear_exact_by_hand():
    got = intensity.window(np.array([-1, 0, 25, 50, 75, 100]), 50, 50, "LINEAR_EXACT")
    assert got.tolist() == [0, 0, 0, 127.5, 255, 255]


def test_sigmoid_by_hand():
    got = intensity.window(np.array([-1e9, 0, 10, 1e9]), 0, 40, "SIGMOID")
    assert got[0] == pytest.approx(0, abs=1e-9)
    assert got[1] == 127.5
    assert got[2] == pytest.approx(255 / (1 + np.exp(-1)))
    assert got[3] == 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40, 400), (-600, 1500), (127.5, 201.5), (0, 65536)])
def test_windows_as_pydicom_does_them(function, center, width):
    """pydicom maps to the range of the modality's output, which here is that of 16 signed bits."""
    values = intensity.ramp(16, signed=True).astype(np.int16)
    dataset = pydicom.Dataset()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsStored, dataset.PixelRepresentation = 16, 1
    dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = center, width, function
    reference = processing.apply_windowing(values, dataset)
    assert np.allclose(intensity.window(values, center, width, function), (reference + 32768) / 65535 * 255, atol=1e-9)


def test_lookup_by_hand():
    """Below the first value the first entry, beyond the end the last."""
    got = intensity.lookup(np.array([-9, 2, 3, 4, 5, 99]), 3, np.array([10, 20, 30]))
    assert got.tolist() == [10, 10, 10, 20, 30, 30]


def test_stretch_by_hand():
    assert intensity.stretch(np.array([0, 10, 15, 20, 30]), 10, 20).tolist() == [0, 0, 127.5, 255, 255]
    assert intensity.stretch(np.array([5, 5]), 5, 5).tolist() == [0, 0]


def test_levels_round_to_the_nearest():
    assert intensity.levels(np.array([0.4, 0.6, 1.5, 2.5, 254.6])).tolist() == [0, 1, 2, 2, 255]


@settings(max_examples=60, deadline=None)
@given(
    center=st.floats(-1e5, 1e5),
    width=st.floats(1, 1e5),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_every_window_rises_and_stays_in_range(center, width, function):
    levels = intensity.window(np.linspace(-2e5, 2e5, 501), center, width, function)
    assert np.isfinite(levels).all()
    assert (np.diff(levels) >= 0).all()
    assert levels.min() >= 0
    assert levels.max() <= 255
