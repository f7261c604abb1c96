from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from hidemia.benchmarks import offences
from hidemia.benchmarks.integrity import Tally, measure, rate, score, table
from hidemia.benchmarks.offences import OFFENCES, Visit
from hidemia.runtime.errors import ReplyError
from hidemia.runtime.veil import Veil


class Adding:
    """A server whose answer is 2 levels brighter."""

    def analyze(self, stego):
        return np.minimum(stego.astype(np.int16) + 2, 255).astype(np.uint8)


class Gullible:
    """A client that accepts everything, and finds a lesion where a photo is no darker than what was sent."""

    manifest = SimpleNamespace(mask_threshold=0.5, veil=None)

    def probability(self, reply, *, sent):
        return (reply >= sent).all(axis=2).astype(np.float32)

    def recover(self, reply, *, sent):
        return SimpleNamespace(probability=self.probability(reply, sent=sent))


class Strict(Gullible):
    """Accepts exactly what `Adding` answers."""

    def recover(self, reply, *, sent):
        if not np.array_equal(reply, Adding().analyze(sent)):
            raise ReplyError("no answer")
        return super().recover(reply, sent=sent)


@pytest.fixture
def visit():
    draw = np.random.default_rng(0)
    cover, other = draw.integers(20, 230, (2, 64, 64, 3)).astype(np.uint8)
    stego = (cover ^ 1).astype(np.uint8)
    truth = np.ones((64, 64), dtype=bool)
    return Visit(truth, cover, stego, Adding().analyze(stego), Adding().analyze(other), Adding())


@pytest.mark.parametrize("offend", OFFENCES)
def test_every_offence_is_a_photo_that_is_not_the_answer(visit, offend):
    offered = offend(visit)
    assert offered.dtype == np.uint8
    assert offered.shape == visit.reply.shape
    assert not np.array_equal(offered, visit.reply)
    assert np.array_equal(offered, offend(visit))


def test_what_was_replaced(visit):
    assert np.array_equal(offences.half(visit)[:32], visit.reply[:32])
    assert np.array_equal(offences.half(visit)[32:], visit.stego[32:])
    changed = (offences.quarter(visit) != visit.reply).any(axis=2)
    assert changed[16:48, 16:48].all()
    assert changed.sum() == 32 * 32


def test_what_anyone_can_move_within_the_windows_of_a_veil(visit):
    guessed, turned = offences.guessed(visit), offences.turned(visit)
    assert np.array_equal(guessed[..., :2], visit.stego[..., :2])
    apart = guessed[..., 2].astype(int) - visit.stego[..., 2]
    assert [np.mean(apart == step) for step in (-1, 0, 1)] == pytest.approx([1 / 3] * 3, abs=0.04)
    assert np.array_equal(turned[..., :2], visit.reply[..., :2])
    assert (turned != visit.reply)[60:, 60:, 2].all()  # of its square, what a photo of 64 px has
    assert (turned != visit.reply).sum() == 16


def test_exact_bounds():
    assert rate(0, 1000) == {"errors": 0, "trials": 1000, "rate": 0.0, "upper_95": pytest.approx(1 - 0.05**0.001)}
    assert rate(3, 3)["upper_95"] == 1.0
    assert rate(5, 100)["rate"] == 0.05


def test_a_strict_client_errs_never_and_a_gullible_one_always(visit):
    strict = measure(Strict(), iter([visit] * 7), OFFENCES, 2)
    assert strict["false_reject"]["errors"] == 0
    assert (
        strict["false_accept"]["errors"] == strict["plain_photo_sent"]["errors"] == 7
    )  # it answers that photo rightly
    gullible = measure(Gullible(), iter([visit] * 7), OFFENCES, 2)
    assert gullible["false_accept"]["rate"] == 1
    assert gullible["false_accept"]["trials"] == 7 * 3
    assert sum(gullible[offend.__name__]["trials"] for offend in OFFENCES) == 14
    assert gullible["bare_cover"]["task_accepted"] == gullible["bare_cover"]["task"] < 0.5
    assert strict["bare_cover"]["task_accepted"] is None
    assert strict["bare_cover"]["task"] == gullible["bare_cover"]["task"]  # what is refused is read as well
    assert strict["false_reject"]["task"] == strict["false_reject"]["task_accepted"] == 1
    bare = next(line for line in table(strict).splitlines() if "bare cover" in line)
    assert bare.endswith(f"| {strict['bare_cover']['task']:.3f} | - |")


def test_rows_by_hand():
    tally = Tally([True, False, False, False], [1.0, 3.0, 2.0, 1.5], [0.2, 0.4, None, 0.6], [0.0, 0.3, 0.1, 0.2])
    expected = {
        "low_change_min": 1.0, "low_change_max": 3.0, "beyond_min": 0.0, "beyond_max": 0.3,
        "task": pytest.approx(0.4), "task_accepted": 0.2,
    }  # fmt: skip
    assert tally.row(accepted_is_wrong=True) == rate(1, 4) | expected
    assert tally.row(accepted_is_wrong=False) == rate(3, 4) | expected


def test_nothing_to_find_has_no_score():
    row = Tally([True], [0.25], [None], [None]).row(accepted_is_wrong=True)
    assert row["task"] is row["task_accepted"] is None
    line = table({"plain_photo_sent": row}).splitlines()[-1]
    assert line == "| plain photo sent | 1 | 1 | 100.00% | 100.00% | 0.25 to 0.25 | - | - | - |"


def test_the_low_change_of_a_kind(visit):
    found = measure(Gullible(), iter([visit] * len(OFFENCES)), OFFENCES, 1)
    assert found["false_reject"]["low_change_min"] == found["false_reject"]["low_change_max"] == 2  # `Adding`
    assert found["analysed_twice"]["low_change_min"] == pytest.approx(4, abs=0.1)
    assert found["false_accept"]["low_change_min"] == found["echo"]["low_change_min"] == 0


def test_how_much_of_a_kind_lies_beyond_the_veil(visit):
    class Veiled(Gullible):
        manifest = SimpleNamespace(mask_threshold=0.5, veil=Veil(reach=2, colours="blue", key="00" * 32))

    found = measure(Veiled(), iter([visit] * len(OFFENCES)), OFFENCES, 1)
    assert found["echo"]["beyond_max"] == found["guessed"]["beyond_max"] == 0
    assert found["false_reject"]["beyond_max"] == pytest.approx(2 / 3)  # `Adding` adds 2 levels: in blue it may
    assert found["analysed_twice"]["beyond_min"] > 0.95  # 4 levels, but where white is near
    assert "| 66.7% to 66.7% |" in table(found).splitlines()[2]


def test_scores_by_hand():
    classes = np.array([0.1, 0.7, 0.2], np.float32)
    assert [score(classes, truth, None) for truth in (0, 1, 2)] == [0, 1, 0]
    pixels = np.array([[0.4, 0.3], [0.6, 0.1]], np.float32)
    assert score(pixels, np.array([[True, False], [False, False]]), 0.4) == pytest.approx(2 / 3)
