from __future__ import annotations

import pytest
import torch
from tests.micro import micro_config, micro_system

from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.seal import AMPLITUDE, TILES, agreement, pattern, seal_loss, spread


def test_a_pattern_is_its_seed_s_and_balanced():
    signs = pattern(1)
    assert signs.shape == (1, 1, 8, 8)
    assert signs.sum() == 0
    assert torch.equal(signs.abs(), torch.ones_like(signs))
    assert torch.equal(signs, pattern(1))
    assert (signs != pattern(2)).sum() > 16


def written(signs: torch.Tensor, strength: float, side: int = 64) -> torch.Tensor:
    """A recovered frame that is grey but for the seal."""
    frame = torch.full((1, 3, side, side), 0.5)
    frame[:, :1] += strength * spread(signs, side, side)
    frame[:, 2:] -= strength * spread(signs, side, side)
    return frame


@pytest.mark.parametrize("side", [64, 96, 224])
def test_agreement_reads_what_was_written(side):
    signs = pattern(3)
    reference = torch.rand(1, 3, side, side)
    for strength, expected in ((AMPLITUDE, 1.0), (0.0, 0.0), (-AMPLITUDE, -1.0)):
        agreed = agreement(reference + written(signs, strength, side) - 0.5, reference, signs)
        torch.testing.assert_close(agreed, torch.full((1, TILES, TILES), expected), atol=1e-4, rtol=0)


def test_a_mask_and_a_tint_do_not_look_like_a_seal():
    signs, reference = pattern(3), torch.rand(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 0.3
    assert agreement(reference + mask, reference, signs).abs().max() < 1e-5  # grey: red minus blue is untouched
    tint = torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    assert (agreement(reference + tint, reference, signs) > 0.5).double().mean() == 0.5


def test_another_pair_s_seal_agrees_in_about_half():
    other = agreement(written(pattern(4), AMPLITUDE), torch.full((1, 3, 64, 64), 0.5), pattern(3))
    assert 0.25 < (other > 0.5).double().mean() < 0.75


def test_loss_by_hand():
    agreed = torch.stack([torch.full((8, 8), 0.5), torch.full((8, 8), 0.5), torch.full((8, 8), 2.0)])
    loss = seal_loss(agreed, torch.tensor([True, False, True]))
    torch.testing.assert_close(loss, torch.tensor((0.5**2 + 1.5**2 + 0) / 3))


def test_a_fresh_seal_changes_nothing_and_a_written_one_follows_the_signs():
    config = AnalyzerConfig(width=8, levels=2, attention_levels=1)
    plain = Analyzer(config).eval()
    sealed = Analyzer(AnalyzerConfig(width=8, levels=2, attention_levels=1, seal=5)).eval()
    sealed.load_state_dict(plain.state_dict(), strict=False)
    stego = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(plain(stego), sealed(stego))
        for seal in sealed.seals.values():
            seal.bias.fill_(0.5)
        change = sealed(stego) - plain(stego)
    low = change.mean(dim=1).view(1, 8, 4, 8, 4).mean(dim=(2, 4))  # ll is the mean of each 2x2
    assert torch.equal(low.sign(), sealed.signs[:, 0])


def test_the_signs_are_no_weights():
    system = micro_system(micro_config())
    assert not [name for name in system.state_dict() if "signs" in name]
    assert [name for name in system.state_dict() if "seals" in name]
