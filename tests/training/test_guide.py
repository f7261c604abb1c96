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
    """By hand: features side by side, each scaled to deviate by 1, and the mean of probabilities, not of logits."""
    torch.manual_seed(0)
    networks, scans = [network(classes), network(classes, width=6)], torch.rand(2, 3, 16, 16)
    guide = Guide(networks).eval()
    seen, answer = guide(scans)
    assert guide.classes == classes
    assert guide.channels == [8 + 12, 4 + 6] == [level.shape[1] for level in seen]
    coarse, fine = ([own.levels(scans)[level] for own in networks] for level in (1, 0))
    for level, (first, second) in zip(seen, (coarse, fine), strict=True):
        torch.testing.assert_close(level, torch.cat([first / first.std(), second / second.std()], dim=1))
    found = [own.probabilities(scans) for own in networks]
    torch.testing.assert_close(answer if classes else answer[:, 0], (found[0] + found[1]) / 2)


def test_each_sees_noise_of_its_own_strength() -> None:
    torch.manual_seed(0)
    guide, scans = Guide([network(2), network(2, noise=40.0)]).eval(), torch.rand(2, 3, 16, 16)
    (first, _), _ = guide(scans)
    (second, _), _ = guide(scans)
    clear, noisy = ((first == second)[:, part].all() for part in (slice(8), slice(8, None)))
    assert clear
    assert not noisy


def test_no_more_levels_are_shown_than_there_are() -> None:
    guide = Guide([PlainNetwork(4, 1, 2).eval()]).eval()
    assert guide.channels == [4]
    assert [level.shape for level in guide(torch.rand(2, 3, 16, 16))[0]] == [(2, 4, 8, 8)]


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
