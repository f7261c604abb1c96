import pytest
import torch

from hidemia.training.guide import Guide
from hidemia.training.plain import PlainNetwork


def network(classes: int | None, *, width: int = 4, noise: float = 0.0) -> PlainNetwork:
    made = PlainNetwork(width, 2, classes).eval()
    made.noise = noise
    return made


@pytest.mark.parametrize("classes", [3, None])
def test_networks_are_asked_together(classes: int | None) -> None:
    """By hand: features of both levels, coarsest first, and the mean of probabilities, not of logits."""
    torch.manual_seed(0)
    networks, scans = [network(classes), network(classes, width=6)], torch.rand(2, 3, 16, 16)
    guide = Guide(networks).eval()
    seen, answer = guide(scans)
    assert guide.classes == classes
    assert guide.channels == [8 + 12, 4 + 6]
    for level, place in zip(seen, (1, 0), strict=True):
        for part, own in zip(level, networks, strict=True):
            assert torch.equal(part, own.levels(scans)[place])
    if classes is None:
        assert answer is None  # nobody asks for a mask
    else:
        torch.testing.assert_close(answer, sum(own.probabilities(scans) for own in networks) / 2)


def test_each_sees_noise_of_its_own_strength() -> None:
    torch.manual_seed(0)
    guide, scans = Guide([network(2), network(2, noise=40.0)]).eval(), torch.rand(2, 3, 16, 16)
    ((clear, noisy), _), _ = guide(scans)
    ((clear_again, noisy_again), _), _ = guide(scans)
    assert torch.equal(clear, clear_again)
    assert not torch.equal(noisy, noisy_again)


@pytest.mark.parametrize(("levels", "channels"), [(1, [4]), (2, [8, 4]), (3, [16, 8])])
def test_two_levels_are_shown_where_there_are_two(levels: int, channels: list[int]) -> None:
    guide = Guide([PlainNetwork(4, levels, 2).eval()]).eval()
    assert guide.channels == channels
    sides = [16 // 2**levels, 16 // 2 ** (levels - 1)]
    found = [part.shape for (part,) in guide(torch.rand(2, 3, 16, 16))[0]]
    assert found == [(2, count, side, side) for count, side in zip(channels, sides, strict=False)]


def test_a_guide_learns_nothing() -> None:
    guide = Guide([network(2)])
    assert not any(parameter.requires_grad for parameter in guide.parameters())
    assert not guide(torch.rand(1, 3, 16, 16))[1].requires_grad


@pytest.mark.parametrize(
    "networks",
    [[], [network(2), network(3)], [network(2), network(None)], [network(2), PlainNetwork(4, 3, 2)]],
    ids=["none", "classes", "task", "depth"],
)
def test_networks_of_several_kinds_are_no_guide(networks: list[PlainNetwork]) -> None:
    kinds = min(2, len(networks))
    with pytest.raises(ValueError, match=f"guide: expected plain networks of one task and depth, got {kinds} kinds"):
        Guide(networks)
