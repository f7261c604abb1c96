import math

import numpy as np
import pytest
import torch

from hidemia.runtime.similarity import ssim
from hidemia.training.channel import Reach
from hidemia.training.losses import (
    WINDOW_PX,
    beyond,
    even_loss,
    excess_loss,
    mia_loss,
    percept_loss,
    ssim_loss,
    stray_loss,
    total_loss,
)


def dice_loss(probabilities: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - (2 |P T| + 1) / (|P| + |T| + 1), image by image, then the mean."""
    overlap = (probabilities * truth).flatten(1).sum(1)
    total = (probabilities + truth).flatten(1).sum(1)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def test_segmentation_by_hand() -> None:
    # Probabilities 0.5 everywhere, one lesion pixel of four: Dice 1 - (2 * 0.5 + 1) / (2 + 1 + 1) = 0.5.
    truth = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    assert mia_loss(torch.zeros(1, 1, 2, 2), truth).item() == pytest.approx(math.log(2) + 0.5)
    # ln 3 is a probability of 3/4: entropy (3 ln 4 + ln 4/3) / 4, Dice 1 - (1.5 + 1) / (3 + 1 + 1) = 0.5.
    expected = (3 * math.log(4) + math.log(4 / 3)) / 4 + 0.5
    assert mia_loss(torch.full((1, 1, 2, 2), math.log(3)), truth).item() == pytest.approx(expected)


def test_dice_is_taken_image_by_image() -> None:
    logits, share = 3 * torch.randn(4, 1, 8, 8), torch.tensor([0.05, 0.2, 0.5, 0.9]).view(4, 1, 1, 1)
    truth = (torch.rand(4, 1, 8, 8) < share).float()
    p = logits.sigmoid()
    entropy = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    torch.testing.assert_close(mia_loss(logits, truth), entropy + dice_loss(p, truth))
    pooled = (1 - (2 * (p * truth).sum() + 1) / ((p + truth).sum() + 1)).item()
    assert dice_loss(p, truth).item() != pytest.approx(pooled, rel=0.01)


def test_perfect_and_opposite() -> None:
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :4] = 1
    assert mia_loss(40 * truth - 20, truth).item() == pytest.approx(0, abs=1e-6)
    assert mia_loss(20 - 40 * truth, truth).item() == pytest.approx(20 + 1 - 1 / 65, rel=1e-5)


def test_empty_truth_is_no_division_by_zero() -> None:
    assert mia_loss(torch.full((1, 1, 4, 4), -100.0), torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0)


def test_classification_has_no_dice() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert mia_loss(logits, torch.tensor([1, 0])).item() == pytest.approx(expected)


def test_percept_is_a_mean_of_squares() -> None:
    cover = torch.zeros(2, 3, 4, 4)
    assert percept_loss(cover + 0.1, cover).item() == pytest.approx(0.01)
    assert percept_loss(torch.cat([cover[:1], cover[1:] + 1]), cover).item() == 0.5


def levels(image: torch.Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> uint8 (H, W, 3)."""
    return (image * 255).round().byte().permute(1, 2, 0).numpy()


def test_ssim_loss_is_what_evaluation_measures() -> None:
    """It is one less `runtime.similarity.ssim`, which is written without torch."""
    cover = (255 * torch.rand(2, 3, 24, 32)).round() / 255
    reply = ((cover * 255 + 8 * torch.randn(cover.shape)).round().clamp(0, 255)) / 255
    expected = 1 - np.mean([ssim(levels(a), levels(b)) for a, b in zip(reply, cover, strict=True)])
    assert ssim_loss(reply, cover).item() == pytest.approx(expected, abs=2e-5)
    assert ssim_loss(cover, cover).item() == pytest.approx(0, abs=1e-6)


def test_the_same_noise_costs_more_ssim_where_a_photo_is_flat() -> None:
    noise, texture = 0.01 * torch.randn(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    flat = torch.full_like(texture, 0.5)
    assert ssim_loss(flat + noise, flat) > 10 * ssim_loss(texture + noise, texture)


def test_ssim_loss_is_taken_in_float32() -> None:
    cover = 0.9 + 0.02 * torch.rand(1, 3, 16, 16)  # in bfloat16, two squares of it are one number or the next
    reply = cover + 0.002 * torch.randn(cover.shape)
    expected = ssim_loss(reply, cover)
    with torch.autocast("cpu", torch.bfloat16):
        assert ssim_loss(reply, cover).item() == expected.item()


def test_total_is_weighted() -> None:
    logits, truth = torch.zeros(1, 1, 2, 2), torch.tensor([[0.0, 0.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    reply, cover = torch.full((1, 3, 4, 4), 0.6), torch.full((1, 3, 4, 4), 0.5)
    expected = 3 * (math.log(2) + 0.5) + 200 * 0.01
    assert total_loss(logits, truth, reply, cover, beta1=3, beta2=200).item() == pytest.approx(expected)


def test_beyond_pulls_only_outside() -> None:
    distance = torch.tensor([1e-5, 5e-5, 7e-5], requires_grad=True)
    excess = beyond(distance, 5e-5)
    torch.testing.assert_close(excess, torch.tensor([0, 0, 2e-5]))
    excess.sum().backward()
    assert distance.grad.tolist() == [0, 0, 1]


def in_windows(values: list[list[float]]) -> torch.Tensor:
    """(1, 1, H, W): each value fills a square as wide as half a window."""
    return torch.tensor(values)[None, None].repeat_interleave(WINDOW_PX // 2, 2).repeat_interleave(WINDOW_PX // 2, 3)


def test_a_change_where_something_is_said_tells_it_by_hand() -> None:
    # Windows cover two squares a side. Means of the change 1, 2, 3 and of what is said 0, 1, 0 give a covariance of 0;
    # 0, 0, 1 in its place gives deviations of (-1, 0, 1) and (-1, -1, 2) / 3, so (3 / 3)^2 / (2 * 6 / 9).
    change = in_windows([[0, 2, 2, 4], [0, 2, 2, 4]])
    assert even_loss(change, in_windows([[0, 0, 2, -2], [0, 0, 2, -2]])).item() == pytest.approx(0, abs=1e-6)
    assert even_loss(change, in_windows([[0, 0, 0, 2], [0, 0, 0, 2]])).item() == pytest.approx(0.75)


def test_only_how_strong_a_change_is_counts_and_not_its_direction_nor_its_scale() -> None:
    torch.manual_seed(0)
    change = torch.rand(2, 3, 64, 64) * torch.tensor([0.1, 1.0]).repeat_interleave(32).view(1, 1, 1, 64)
    said = torch.tensor([0.0, 1.0]).repeat_interleave(32).view(1, 1, 1, 64).expand(2, 3, 64, 64)
    signs = torch.where(torch.rand_like(change) < 0.5, -1.0, 1.0)
    loss = even_loss(change, said)
    assert loss > 0.9
    torch.testing.assert_close(even_loss(0.01 * signs * change, -5 * said), loss)


def test_an_even_change_tells_nothing_whatever_is_said() -> None:
    torch.manual_seed(0)
    said = torch.randn(2, 3, 64, 64)
    assert even_loss(torch.full((2, 3, 64, 64), -0.3), said) < 1e-6
    change = torch.zeros(1, 3, 64, 64, requires_grad=True)
    loss = even_loss(change, said[:1])
    loss.backward()
    assert loss == 0
    assert change.grad.isfinite().all()


def test_what_strays_by_hand() -> None:
    found = torch.tensor([-1.0, 0.0, 1.0, 2.0, -3.0, 4.0, 0.5, 0.5], requires_grad=True)
    loss = stray_loss(found.view(1, 2, 2, 2))
    assert loss.item() == pytest.approx((2 + 2) / 8)
    loss.backward()
    torch.testing.assert_close(found.grad, torch.tensor([0.0, 0, 0, 0, -1, 1, 0, 0]) / 8)


def test_excess_by_hand() -> None:
    """2 and 4 levels too far, of four values: a mean square of 5 squared levels. In blue alone: 4, of one value."""
    stego = torch.full((1, 3, 1, 4), 100 / 255)
    reply = torch.tensor([101.0, 103.0, 95.0, 100.0]).expand(1, 3, 1, 4) / 255
    assert (excess_loss(reply, stego, Reach(1)) * 255**2).item() == pytest.approx(5, rel=1e-3)
    assert excess_loss(reply, stego, Reach(5)) == 0
    reply = stego.clone()
    reply[:, 0] += 9 / 255
    reply[:, 2, :, 1] -= 5 / 255
    assert (excess_loss(reply, stego, Reach(1, "blue")) * 255**2).item() == pytest.approx(16 / 4, rel=1e-3)
