import math

import numpy as np
import pytest

from hidemia.benchmarks import metrics


def mask(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def test_dice_by_hand():
    a, b = mask("##..", "##..", "...."), mask(".##.", ".##.", "....")
    assert metrics.dice(a, b) == 0.5
    assert metrics.dice(a, a) == 1.0
    assert metrics.dice(a, ~a) == 0.0
    assert metrics.dice(a & ~a, a & ~a) == 1.0
    assert metrics.dice(a & ~a, b) == 0.0


def test_brightness_by_hand():
    """A level of blue is 0.114 of brightness; two of red down and one of green up nearly cancel out."""
    cover = np.full((4, 4, 3), 100, np.uint8)
    for change, level in (((0, 0, 1), 0.114), ((1, 1, 1), 1.0), ((-2, 1, 0), -0.011)):
        photo = (cover + np.array(change)).astype(np.uint8)
        assert metrics.luma_psnr_db(photo, cover) == pytest.approx(20 * math.log10(255 / abs(level)))
    assert metrics.luma_psnr_db(cover, cover) == math.inf


def test_surface_distance_by_hand():
    a, b = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    a[5:10, 2], b[5:10, 5] = True, True  # two lines, three pixels apart
    assert metrics.average_surface_distance_px(a, b) == pytest.approx(3.0)
    assert metrics.average_surface_distance_px(a, a) == 0.0


def test_surface_distance_is_symmetric():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 24, 24)) > 0.8
    assert metrics.average_surface_distance_px(a, b) == pytest.approx(metrics.average_surface_distance_px(b, a))


def test_an_empty_mask_costs_the_diagonal():
    full, empty = np.ones((30, 40), bool), np.zeros((30, 40), bool)
    assert metrics.average_surface_distance_px(empty, full) == 50.0 == math.hypot(30, 40)


def test_classification_by_hand():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.2, 0.7]], np.float32)
    labels = np.array([0, 0, 0, 2])
    assert metrics.accuracy(probabilities, labels) == 0.75
    labels = np.array([0, 1, 1, 2])
    assert metrics.accuracy(probabilities, labels) == 0.75
    assert metrics.balanced_accuracy(probabilities, labels) == pytest.approx((1 + 0.5 + 1) / 3)
    assert metrics.auc(probabilities, labels) == pytest.approx(1.0)
    assert metrics.auc(1 - probabilities, labels) == pytest.approx(0.0)
