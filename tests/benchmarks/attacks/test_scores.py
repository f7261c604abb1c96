from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from hidemia.benchmarks.attacks import scores

CLEAN, HIDDEN = np.array([0.0, 1.0, 2.0, 5.0]), np.array([3.0, 4.0, 6.0, 1.5])


def test_the_best_threshold_by_hand():
    # Above 2.5 lie one cover of four and three of four others: (0.25 + 0.25) / 2.
    assert scores.best_threshold(CLEAN, HIDDEN) == 2.5
    assert scores.error(CLEAN, HIDDEN, 2.5) == 0.25


def test_classes_apart_are_cut_in_the_middle_of_their_gap():
    clean, hidden = np.array([0.0, 1.0]), np.array([9.0, 10.0])
    assert scores.best_threshold(clean, hidden) == 5.0
    assert scores.error(clean, hidden, 5.0) == 0.0


@pytest.mark.parametrize(("threshold", "wrong"), [(-1.0, 0.5), (9.0, 0.5), (1.2, 0.25), (4.5, 0.5)])
def test_errors_by_hand(threshold, wrong):
    assert scores.error(CLEAN, HIDDEN, threshold) == wrong


def test_the_area_is_that_of_scikit_learn_also_with_ties():
    draw = np.random.default_rng(0)
    for levels in (3, 1000):
        clean, hidden = draw.integers(0, levels, 80).astype(float), draw.integers(1, levels + 1, 50).astype(float)
        truth = np.repeat([0, 1], [80, 50])
        assert scores.auc(clean, hidden) == pytest.approx(roc_auc_score(truth, np.concatenate([clean, hidden])))
    assert scores.auc(CLEAN, HIDDEN) == 12 / 16  # 3 and 4 above three covers, 6 above four, 1.5 above two


def test_found_at_a_share_of_false_alarms_by_hand():
    clean = np.arange(100.0)
    hidden = np.array([97.5, 98.5, 99.5, 50.0])
    assert scores.found_at(clean, hidden, 0.01) == 0.5  # one cover may pass: above 98
    assert scores.found_at(clean, hidden, 0.0) == 0.25  # none: above 99
    assert scores.found_at(clean, hidden, 1.0) == 1.0
    assert scores.found_at(clean[:50], hidden, 0.01) == 1.0  # of 50 covers none may pass; all lie above 49


def test_equal_scores_are_no_discovery():
    same = np.ones(10)
    assert scores.auc(same, same) == 0.5
    assert scores.found_at(same, same, 0.01) == 0.0
    assert scores.error(same, same, scores.best_threshold(same, same)) == 0.5


def test_the_curve_rises_from_corner_to_corner():
    points = scores.curve(CLEAN, HIDDEN)
    assert points[0] == (0.0, 0.25)
    assert points[-1] == (1.0, 1.0)
    assert all(a[1] <= b[1] for a, b in pairwise(points))
