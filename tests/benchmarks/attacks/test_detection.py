from types import SimpleNamespace

import numpy as np
import pytest

from hidemia.benchmarks.attacks import detection
from hidemia.benchmarks.attacks.budget import QUICK
from hidemia.benchmarks.attacks.detection import COVERS_APART, OURS, Scored, Training, joined, knows, pairs_of

TURNS, PHOTOS, WIDTH = 2, 24, 40


class Planted:
    """Features in which `stego` lies apart from covers, and `nothing` does not."""

    def features(self, kind, split):
        draw = np.random.default_rng(["train", "val", "test"].index(split))
        covers = draw.normal(size=(1, PHOTOS, WIDTH)).astype(np.float32)
        if kind == "cover":
            return covers
        noise = draw.normal(size=(TURNS, PHOTOS, WIDTH)).astype(np.float32)
        return covers + 0.1 * noise + (1 if kind == "stego" else 0)


def numbered(kind, split):
    """Cover n is n; photo n of turn k is n + 100 * (k + 1)."""
    rows = np.arange(4)
    return rows[None] if kind == "cover" else np.stack([rows + 100, rows + 200])


def test_rows_are_pairs_turn_by_turn():
    clean, hidden = pairs_of(numbered, "stego", "train", 0)
    assert clean.tolist() == [0, 1, 2, 3] * 2
    assert (hidden % 100).tolist() == clean.tolist()


def test_fewer_photos_than_covers_keep_their_own_covers():
    clean, hidden = pairs_of(
        lambda kind, split: numbered(kind, split)[:, :3] if kind != "cover" else numbered(kind, split), "x", "train", 0
    )
    assert clean.tolist() == [0, 1, 2, 0, 1, 2]
    assert len(hidden) == 6


def test_cover_against_cover_shares_no_photo():
    clean, hidden = pairs_of(numbered, COVERS_APART, "train", 3)
    assert len(clean) == len(hidden) == 2
    assert not set(clean) & set(hidden)
    assert sorted([*clean, *hidden]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("trained_on", "target", "bounds"), [("stego", "stego", (0, 0)), ("nothing", "nothing", (0.3, 0.7))]
)
def test_what_is_planted_is_found_and_nothing_else(trained_on, target, bounds):
    training = Training("classical", "the exact weights", trained_on, (target,))
    (found,) = detection.measure(Planted(), training, QUICK, 0)
    assert bounds[0] <= found.error <= bounds[1]
    assert found.pairs == TURNS * PHOTOS
    assert (found.auc == 1.0) == (trained_on == "stego")


def test_one_detector_is_shown_several_targets():
    training = Training("classical", "control", "stego", ("stego", "nothing"))
    assert [found.target for found in detection.measure(Planted(), training, QUICK, 0)] == ["stego", "nothing"]


def test_more_pairs_than_covers_take_the_next_secrets():
    few, many = (
        detection.learned(Planted(), "h", "stego", "stego", pairs, QUICK).error[0] for pairs in (3, 2 * PHOTOS)
    )
    assert many == 0
    assert few >= many


def test_every_attacker_meets_stego_and_reply():
    met = {
        (training.detector, knows(training, target), target)
        for training in detection.trainings()
        for target in training.targets
        if target in OURS
    }
    knowledge = ("nothing", "the architecture", "the exact weights")
    assert met == {(d, k, t) for d in detection.DETECTORS for k in knowledge for t in OURS}


def test_a_control_is_one_only_on_its_own_photos():
    training = SimpleNamespace(knowledge="control")
    assert knows(training, "stego") == "nothing"
    assert knows(training, "LSB matching 0.4") == "control"


def test_seeds_are_joined_and_the_curve_is_the_firsts():
    def scored(seed, target):
        return Scored(target=target, pairs=9, error=seed / 10, auc=0.5, found=0.0, curve=[(0.0, seed / 10)])

    training = Training("classical", "the exact weights", "stego", ("stego", "reply"))
    row = joined(training, "reply", [[scored(seed, "stego"), scored(seed + 1, "reply")] for seed in range(3)])
    assert row.error == [0.1, 0.2, 0.3]
    assert row.curve == [(0.0, 0.1)]
