from __future__ import annotations

import subprocess
import sys

import numpy as np

from hidemia.benchmarks.determinism import Difference, cell, compare

# One scan in one photo through the packaged bundles, as the command's reference does it.
ONE = """
from hidemia.benchmarks import determinism
determinism.COUNT = 1
print(determinism.digest(determinism.trip(determinism.inputs())))
"""


def test_another_process_makes_the_same_bytes():
    """Pixels, PNG files and probabilities; hash seeds differ, as they do between runs."""
    run = [subprocess.run([sys.executable, "-c", ONE], check=True, capture_output=True, text=True) for _ in range(2)]
    assert run[0].stdout == run[1].stdout
    assert len(run[0].stdout.strip()) == 64


def test_differences_by_hand():
    photo = np.array([[10, 20], [30, 40]], np.uint8)
    assert compare(photo, photo, None) == Difference(0, 4, 0.0, None)
    assert compare(photo, np.array([[10, 20], [30, 43]], np.uint8), None) == Difference(1, 4, 3.0, None)
    found = compare(np.float32([0.25, 0.5]), np.float32([0.25, 0.375]), 0.5)
    assert found == Difference(1, 2, 0.125, 1)


def test_words():
    assert cell(Difference(0, 4, 0.0, None)) == "the same bytes"
    assert cell(Difference(3, 1204224, 2.0, None)) == "3 of 1,204,224 values by up to 2"
    assert cell(Difference(2, 4, 0.00049, 1)) == "2 of 4 values by up to 0.0005, 1 mask pixels"
