import numpy as np
import pytest

from hidemia.benchmarks.bootstrap import interval, lower_bound, mean_of, resampled

ALONE = [str(i) for i in range(400)]


def test_no_difference_is_none():
    assert not resampled(np.zeros(10), [""] * 10, ALONE[:10]).any()
    samples = resampled(np.full(10, -0.03), [""] * 10, ALONE[:10])
    assert (lower_bound(samples), *interval(samples)) == pytest.approx((-0.03,) * 3)


def test_the_bound_covers_what_it_says():
    """Of many samples with a true mean of 0, about 5 % put their lower bound above it."""
    draw = np.random.default_rng(3)
    samples = [draw.normal(0, 1, 40) for _ in range(300)]
    above = np.mean([lower_bound(resampled(sample, [""] * 40, ALONE[:40], rounds=500)) > 0 for sample in samples])
    assert 0.01 <= above <= 0.11


def test_bounds_are_those_of_the_normal_law():
    sample = np.random.default_rng(4).normal(0.2, 1, 400)
    samples, error = resampled(sample, [""] * 400, ALONE), sample.std() / 20
    assert lower_bound(samples) == pytest.approx(sample.mean() - 1.645 * error, abs=0.01)
    assert interval(samples) == pytest.approx((sample.mean() - 1.96 * error, sample.mean() + 1.96 * error), abs=0.01)


def test_copies_say_no_more_than_one():
    """Every image ten times: as unsure as before where copies are one group, else surer by sqrt(10)."""
    scores = np.random.default_rng(5).normal(0, 1, 40)
    copies, groups = scores.repeat(10), np.array(ALONE[:40]).repeat(10).tolist()
    once = resampled(scores, [""] * 40, ALONE[:40])
    assert np.allclose(resampled(copies, [""] * 400, groups), once)
    assert resampled(copies, [""] * 400, ALONE).std() == pytest.approx(once.std() / 10**0.5, rel=0.05)


def test_a_group_is_drawn_whole():
    """Two groups of 1 and 3 images, right and wrong: a draw has one of them twice or both, by hand 1, 1/4 or 0."""
    samples = resampled(np.array([1.0, 0, 0, 0]), [""] * 4, ["a", "b", "b", "b"])
    values, counts = np.unique(samples, return_counts=True)
    assert values.tolist() == [0, 0.25, 1]
    assert counts / counts.sum() == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_classes_count_alike():
    scores, labels = np.array([1.0, 1, 1, 1, 0]), ["often"] * 4 + ["rare"]
    assert mean_of(scores, labels) == 0.5
    assert mean_of(scores, [""] * 5) == 0.8
    assert resampled(scores, labels, ALONE[:5]).tolist() == [0.5] * 10_000
