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

LIMITS = ReplyLimits(min_psnr_db=40.0, min_changed_share=0.25, min_seal_share=0.75, max_seal_agreement=1.5)
SENT = np.full((4, 4, 3), 100, np.uint8)


def changed(count: int, by: int = 1) -> np.ndarray:
    """`count` of the 48 values are `by` levels away."""
    reply = SENT.copy()
    reply.reshape(-1)[:count] += np.uint8(by)
    return reply


def test_by_hand():
    """12 of 48 values one level away: a mean square of a quarter."""
    integrity = check_distance(changed(12), SENT, LIMITS)
    assert integrity == Integrity(psnr_db=pytest.approx(10 * np.log10(255**2 * 4)), changed_share=0.25)
    assert integrity.seal_share is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (SENT.copy(), "got the same photo"),
        (changed(11), "expected at least 25.0% of values to differ from the photo sent, got 22.9%"),
        (changed(48, 3), "expected at least 40.0 dB against the photo sent, got 38.6 dB"),
    ],
)
def test_no_answer_to_this_photo(reply, message):
    with pytest.raises(ReplyError) as caught:
        check_distance(reply, SENT, LIMITS)
    assert message in str(caught.value)


@pytest.mark.parametrize(("sealed", "is_one"), [(4, True), (3, True), (2, False), (0, False)])
def test_the_share_of_sealed_tiles(sealed, is_one):
    seal = np.full(4, -1.0, np.float32)
    seal[:sealed] = SEALED
    integrity = Integrity(psnr_db=44.0, changed_share=0.5)
    if is_one:
        expected = Integrity(44.0, 0.5, sealed / 4, (sealed * SEALED - (4 - sealed)) / 4)
        assert check_seal(integrity, seal.reshape(2, 2), LIMITS) == expected
    else:
        with pytest.raises(ReplyError, match=rf"in at least 75\.0% of it, got {sealed / 4:.1%}"):
            check_seal(integrity, seal.reshape(2, 2), LIMITS)


@pytest.mark.parametrize("most", [1.5, None])
def test_a_seal_written_twice(most):
    """Agreements of 1, 1, 2 and 2 are within a limit of 1.5; the last one a little stronger is beyond it."""
    limits = msgspec.structs.replace(LIMITS, max_seal_agreement=most)
    seal = np.array([[1, 1], [2, 2]], np.float32)
    assert check_seal(Integrity(44.0, 0.5), seal, limits).seal_agreement == 1.5
    seal[1, 1] = 2.25
    if most is None:  # the bundle is older than the limit
        assert check_seal(Integrity(44.0, 0.5), seal, limits).seal_agreement == 1.5625
    else:
        with pytest.raises(ReplyError, match=r"of at most 1\.50, got 1\.56; it was analysed more than once"):
            check_seal(Integrity(44.0, 0.5), seal, limits)


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_one_tile_that_is_no_number(hole):
    seal = np.ones((2, 2), np.float32)
    seal[0, 0] = hole
    with pytest.raises(ReplyError, match=rf"of at most 1\.50, got {hole}"):
        check_seal(Integrity(44.0, 0.5), seal, LIMITS)


def test_a_seal_that_is_no_number_is_none():
    with pytest.raises(ReplyError, match=r"got 0\.0%"):
        check_seal(Integrity(44.0, 0.5), np.full((2, 2), np.nan, np.float32), LIMITS)


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
