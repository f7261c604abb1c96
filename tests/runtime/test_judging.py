from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hidemia.runtime import ReplyError
from hidemia.runtime.judging import SEALED, check_distance, check_seal
from hidemia.runtime.manifest import ReplyLimits
from hidemia.runtime.result import Integrity

LIMITS = ReplyLimits(min_psnr_db=40.0, min_changed_share=0.25, max_low_change=1.0, min_seal_share=0.75)
SENT = np.full((4, 4, 3), 100, np.uint8)


def changed(count: int, by: int = 1) -> np.ndarray:
    """`count` of the 48 values are `by` levels away."""
    reply = SENT.copy()
    reply.reshape(-1)[:count] += np.uint8(by)
    return reply


def test_by_hand():
    """12 of 48 values one level away, the first row: a mean square of a quarter.

    The mean of half of the 2x2 px is half a level away: a mean square of an eighth.
    """
    integrity = check_distance(changed(12), SENT, LIMITS)
    expected = pytest.approx(10 * np.log10(255**2 * 4))
    assert integrity == Integrity(psnr_db=expected, changed_share=0.25, low_change=pytest.approx(0.125**0.5))
    assert integrity.seal_share is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (SENT.copy(), "got the same photo"),
        (changed(11), "expected at least 25.0% of values to differ from the photo sent, got 22.9%"),
        (changed(48, 3), "expected at least 40.0 dB against the photo sent, got 38.6 dB"),
        (changed(24, 2), "expected the means of 2x2 px within 1.00 levels of those of the photo sent, got 1.41"),
    ],
)
def test_no_answer_to_this_photo(reply, message):
    with pytest.raises(ReplyError) as caught:
        check_distance(reply, SENT, LIMITS)
    assert message in str(caught.value)


def test_a_bundle_without_the_limit_on_low_changes():
    limits = msgspec.structs.replace(LIMITS, max_low_change=None)
    assert check_distance(changed(24, 2), SENT, limits).low_change == pytest.approx(2**0.5)


@pytest.mark.parametrize(("sealed", "is_one"), [(4, True), (3, True), (2, False), (0, False)])
def test_the_share_of_sealed_tiles(sealed, is_one):
    seal = np.full(4, -1.0, np.float32)
    seal[:sealed] = SEALED
    integrity = Integrity(psnr_db=44.0, changed_share=0.5, low_change=0.2)
    if is_one:
        expected = Integrity(44.0, 0.5, 0.2, sealed / 4, pytest.approx(float(seal.mean())))
        assert check_seal(integrity, seal.reshape(2, 2), LIMITS) == expected
    else:
        with pytest.raises(ReplyError, match=rf"in at least 75\.0% of it, got {sealed / 4:.1%}"):
            check_seal(integrity, seal.reshape(2, 2), LIMITS)


def test_a_seal_that_was_written_twice():
    """Four tiles of 1, 1.5, 1.5 and 2: a mean of 1.5."""
    integrity, seal = Integrity(44.0, 0.5, 0.2), np.float32([[1.0, 1.5], [1.5, 2.0]])
    at_most = msgspec.structs.replace(LIMITS, max_seal_strength=1.5)
    assert check_seal(integrity, seal, at_most) == Integrity(44.0, 0.5, 0.2, 1.0, 1.5)
    less = msgspec.structs.replace(LIMITS, max_seal_strength=1.4)
    with pytest.raises(ReplyError, match=r"a strength of 1\.400 at most, got 1\.500; it was analysed more than once"):
        check_seal(integrity, seal, less)


@pytest.mark.parametrize("tile", [np.nan, np.inf, -np.inf])
def test_a_seal_that_is_no_number_is_none(tile):
    """Not even where all other tiles carry it."""
    with pytest.raises(ReplyError, match=r"got 0\.0%"):
        check_seal(Integrity(44.0, 0.5, 0.2), np.float32([[1.0, 1.0], [1.0, tile]]), LIMITS)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), most=st.integers(0, 255))
def test_whatever_comes_back_is_within_the_limits_or_refused(seed, most):
    rng = np.random.default_rng(seed)
    reply = np.clip(SENT.astype(int) + rng.integers(-most, most + 1, SENT.shape), 0, 255).astype(np.uint8)
    try:
        integrity = check_distance(reply, SENT, LIMITS)
    except ReplyError:
        return
    assert integrity.psnr_db >= LIMITS.min_psnr_db
    assert integrity.changed_share >= LIMITS.min_changed_share
    assert integrity.low_change <= LIMITS.max_low_change
