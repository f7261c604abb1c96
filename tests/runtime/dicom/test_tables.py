from __future__ import annotations

import numpy as np
import pytest

from hidemia.runtime import ImageError
from hidemia.runtime.dicom.tables import table


def entry(dcm, descriptor, data: bytes):
    made = dcm.item(LUTDescriptor=descriptor, LUTData=data)
    made["LUTData"].VR = "OW"
    return made


def test_words_and_bytes(dcm):
    words = np.array([1, 300, 4095], "<u2")
    record, entries = table(entry(dcm, [3, 7, 12], words.tobytes()), 1, "x", signed=False)
    assert entries.tolist() == [1, 300, 4095]
    assert (record.first, record.entries, record.bits, record.name) == (7, 3, 12, None)
    _, entries = table(entry(dcm, [3, 0, 8], bytes([5, 6, 255, 0])), 1, "x", signed=False)
    assert entries.tolist() == [5, 6, 255]


def test_no_entries_are_65536(dcm):
    record, entries = table(entry(dcm, [0, 0, 16], np.arange(1 << 16, dtype="<u2").tobytes()), 1, "x", signed=False)
    assert record.entries == len(entries) == 1 << 16


def test_a_first_value_below_zero(dcm):
    made = entry(dcm, [2, 65526, 8], b"\1\2")
    assert table(made, 1, "x", signed=True)[0].first == -10
    assert table(made, 1, "x", signed=False)[0].first == 65526


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [
        ([3, 0, 12], b"\1\2\3\4"),
        ([2, 0, 8], b"\0\1\0\2"),
        ([2, 0, 7], b"\1\2"),
        ([2, 0, 17], b"\1\2\3\4"),
        ([2, 0], b""),
    ],
)
def test_tables_that_contradict_themselves(dcm, descriptor, data):
    with pytest.raises(ImageError, match="expected a lookup table of"):
        table(entry(dcm, descriptor, data), 1, "x", signed=False)
