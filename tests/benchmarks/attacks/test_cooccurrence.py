from itertools import pairwise, product

import numpy as np
import pytest

from hidemia.benchmarks.attacks import cooccurrence
from hidemia.benchmarks.attacks.cooccurrence import FEATURES, features, spam, transitions, triplets

ROW = np.array([[0, 1, 3, 3, 10]], np.int16)


def at(counts, u, v, w):
    return counts[u + 3, v + 3, w + 3]


def test_triplets_of_a_row_by_hand():
    # Differences to the right neighbour: -1, -2, 0, -7; the last counts as -3.
    counts = triplets(ROW, (0, 1))
    assert at(counts, 0, -2, -1) == at(counts, -3, 0, -2) == 1
    assert counts.sum() == 2


def test_transitions_by_hand():
    counts = np.zeros((7, 7, 7))
    counts[:, 3, 3] = [0, 1, 0, 3, 0, 0, 0]
    found = transitions(counts)
    assert found[:, 3, 3].tolist() == [0, 0.25, 0, 0.75, 0, 0, 0]
    assert found.sum() == 1  # what never came has no probability, and is no division by zero


def test_spam_of_a_small_plane_by_a_loop():
    plane = np.random.default_rng(0).integers(0, 5, (6, 7)).astype(np.int16)

    def along(rows, columns):
        """Eq. 1 to 3 of the paper as they are printed, place by place."""
        counts = np.zeros((7, 7, 7))
        height, width = plane.shape
        for i, j in product(range(height), range(width)):
            walk = [(i + n * rows, j + n * columns) for n in range(4)]
            if all(0 <= y < height and 0 <= x < width for y, x in walk):
                values = [int(plane[place]) for place in walk]
                w, v, u = (max(-3, min(3, a - b)) + 3 for a, b in pairwise(values))
                counts[u, v, w] += 1
        found = np.zeros((7, 7, 7))
        for v, w in product(range(7), range(7)):
            if counts[:, v, w].sum():
                found[:, v, w] = counts[:, v, w] / counts[:, v, w].sum()
        return found

    straight = np.mean([along(0, 1), along(0, -1), along(1, 0), along(-1, 0)], axis=0)
    diagonal = np.mean([along(1, 1), along(-1, -1), along(1, -1), along(-1, 1)], axis=0)
    np.testing.assert_allclose(spam(plane), np.concatenate([straight.ravel(), diagonal.ravel()]))


def test_across_colours_by_hand():
    # One step to the right (-1, 0, 2) in the three colours, none down; each counts with its way back.
    planes = np.array([[[0, 1]], [[5, 5]], [[9, 7]]], np.int16)
    found = cooccurrence.across(planes).reshape(7, 7, 7)
    assert at(found, -1, 0, 2) == at(found, 1, 0, -2) == 0.5
    assert found.sum() == 1


def test_a_flat_photo_has_only_zeros_after_zeros():
    found = features(np.full((8, 8, 3), 77, np.uint8))
    assert found.shape == (FEATURES,)
    assert found.dtype == np.float32
    assert np.flatnonzero(found).tolist() == [171 + 343 * n for n in range(7)]
    assert set(found[found > 0]) == {1.0}


@pytest.mark.parametrize("turn", [lambda x: x[::-1], lambda x: x[:, ::-1], np.rot90])
def test_turns_and_mirrors_change_nothing(turn):
    photo = np.random.default_rng(1).integers(100, 106, (20, 24, 3), dtype=np.uint8)
    np.testing.assert_allclose(features(turn(photo)), features(photo), atol=1e-6)
