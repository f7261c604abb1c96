from __future__ import annotations

import numpy as np
import pytest

from hidemia.benchmarks import integrity
from hidemia.benchmarks.integrity import OFFENCES, Visit, measure, rate, table
from hidemia.runtime.errors import ReplyError


class Adding:
    """A server whose answer is 2 levels brighter."""

    def analyze(self, stego):
        return np.minimum(stego.astype(np.int16) + 2, 255).astype(np.uint8)


class Strict:
    """A client that accepts exactly what `Adding` answers."""

    def recover(self, reply, *, sent):
        if not np.array_equal(reply, Adding().analyze(sent)):
            raise ReplyError("no answer")


class Gullible:
    def recover(self, reply, *, sent):
        pass


@pytest.fixture
def visit():
    draw = np.random.default_rng(0)
    cover, other = draw.integers(20, 230, (2, 64, 64, 3)).astype(np.uint8)
    stego = (cover ^ 1).astype(np.uint8)
    return Visit(cover, stego, Adding().analyze(stego), Adding().analyze(other), Adding())


@pytest.mark.parametrize("offend", OFFENCES)
def test_every_offence_is_a_photo_that_is_not_the_answer(visit, offend):
    offered = offend(visit)
    assert offered.dtype == np.uint8
    assert offered.shape == visit.reply.shape
    assert not np.array_equal(offered, visit.reply)
    assert np.array_equal(offered, offend(visit))


def test_what_was_replaced(visit):
    assert np.array_equal(integrity.half(visit)[:32], visit.reply[:32])
    assert np.array_equal(integrity.half(visit)[32:], visit.stego[32:])
    changed = (integrity.quarter(visit) != visit.reply).any(axis=2)
    assert changed[16:48, 16:48].all()
    assert changed.sum() == 32 * 32


def test_exact_bounds():
    assert rate(0, 1000) == {"errors": 0, "trials": 1000, "rate": 0.0, "upper_95": pytest.approx(1 - 0.05**0.001)}
    assert rate(3, 3)["upper_95"] == 1.0
    assert rate(5, 100)["rate"] == 0.05


def test_a_strict_client_errs_never_and_a_gullible_one_always(visit):
    strict = measure(Strict(), iter([visit] * 6), OFFENCES, 2)
    assert strict["false_reject"]["errors"] == 0
    assert (
        strict["false_accept"]["errors"] == strict["plain_photo_sent"]["errors"] == 6
    )  # it answers that photo rightly
    gullible = measure(Gullible(), iter([visit] * 6), OFFENCES, 2)
    assert gullible["false_accept"]["rate"] == 1
    assert gullible["false_accept"]["trials"] == 6 * 3
    assert sum(gullible[offend.__name__]["trials"] for offend in OFFENCES) == 12
    assert "| bare cover |" in table(gullible)
