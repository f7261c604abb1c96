from __future__ import annotations

import pytest

from hidemia.runtime.rate import RateLimit, caller


def test_a_second_of_photos_at_once_then_a_steady_rate():
    limit = RateLimit(4)
    assert [limit.take("a", 10.0) for _ in range(4)] == [0.0] * 4
    assert limit.take("a", 10.0) == 0.25
    assert limit.take("a", 10.125) == pytest.approx(0.125)
    assert limit.take("a", 10.25) == 0.0
    assert limit.take("a", 10.25) == pytest.approx(0.25)
    assert [limit.take("a", 99.0) for _ in range(5)] == [0.0] * 4 + [0.25]


def test_less_than_one_photo_a_second():
    limit = RateLimit(0.5)
    assert limit.take("a", 0.0) == 0.0
    assert limit.take("a", 0.0) == 2.0
    assert limit.take("a", 2.0) == 0.0


def test_callers_have_buckets_of_their_own():
    limit = RateLimit(1)
    assert limit.take("a", 0.0) == 0.0
    assert limit.take("b", 0.0) == 0.0
    assert limit.take("a", 0.0) == 1.0


def test_memory_is_bounded():
    limit = RateLimit(1, max_callers=3)
    for who in "abcabcd":
        limit.take(who, 0.0)
    assert list(limit._buckets) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("address", "who"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_who_is_behind_an_address(address, who):
    assert caller(address) == who
