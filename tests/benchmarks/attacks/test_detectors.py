"""Both detectors: each finds what was planted, and nothing where there is nothing."""

import numpy as np
import pytest
import torch

from hidemia.benchmarks.attacks import scores, xunet
from hidemia.benchmarks.attacks.classical import Ensemble


def planted(pairs, seed, strength):
    draw = np.random.default_rng(seed)
    clean = draw.normal(size=(pairs, 60)).astype(np.float32)
    return clean, (clean + strength * np.linspace(0, 1, 60)).astype(np.float32)


def test_the_ensemble_finds_a_shift_and_no_noise():
    test = planted(200, 1, 0.8)
    judge = Ensemble(*planted(100, 0, 0.8), seed=0, learners=5)
    assert scores.auc(judge(test[0]), judge(test[1])) > 0.95
    blind = Ensemble(planted(100, 0, 0)[0], planted(100, 2, 0)[0], seed=0, learners=5)
    clean, other = planted(200, 3, 0)[0], planted(200, 4, 0)[0]
    assert 0.35 < scores.auc(blind(clean), blind(other)) < 0.65


def test_the_ensemble_is_decided_by_its_seed():
    train, test = planted(50, 0, 0.5), planted(20, 1, 0.5)[1]
    first, again, other = (Ensemble(*train, seed=seed, learners=3)(test) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def photos(count, seed):
    """Smooth, as photos are, so that what is planted is not lost in them."""
    small = np.random.default_rng(seed).integers(60, 190, (count, 4, 4, 3), dtype=np.uint8)
    planes = torch.from_numpy(small).permute(0, 3, 1, 2).float()
    large = torch.nn.functional.interpolate(planes, size=(48, 48), mode="bicubic").clamp(5, 250)
    return large.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def noisy(clean, seed):
    return (clean + np.random.default_rng(seed).integers(-3, 4, clean.shape)).astype(np.uint8)


def trained(clean, hidden, steps=25):
    return xunet.train_xunet(clean, hidden, seed=0, steps=steps, pairs_a_step=8, crop_px=32, width=4)


def test_the_network_finds_noise_and_nothing_in_equal_photos():
    clean, test = photos(24, 0), photos(24, 1)
    network = trained(clean, noisy(clean, 2))
    assert scores.auc(xunet.score(network, test), xunet.score(network, noisy(test, 3))) > 0.95
    blind = trained(clean, clean)
    assert scores.auc(xunet.score(blind, test), xunet.score(blind, photos(24, 4))) == pytest.approx(0.5, abs=0.25)


def test_the_network_is_decided_by_its_seed_and_takes_any_size():
    clean = photos(8, 0)
    first, again = (xunet.score(trained(clean, noisy(clean, 1), steps=2), clean) for _ in range(2))
    assert np.array_equal(first, again)
    larger = np.concatenate([clean, clean], axis=2)
    assert xunet.score(trained(clean, clean, steps=1), larger).shape == (8,)


def test_a_flat_photo_passes_no_filter():
    assert torch.allclose(xunet.FILTERS.sum(dim=(1, 2, 3)), torch.zeros(3), atol=1e-6)
    assert torch.equal(xunet.FILTERS[2, 0], xunet.FILTERS[2, 0].T)


def test_both_halves_of_a_pair_are_cut_alike():
    clean = photos(4, 0)
    batch = xunet._batch(clean, clean, 6, 32, np.random.default_rng(0))
    assert torch.equal(batch[0::2], batch[1::2])
    assert batch.shape == (12, 3, 32, 32)
