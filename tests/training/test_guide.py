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
    """By hand: the features of each as they are, and the mean of their probabilities, not of their logits."""
    torch.manual_seed(0)
    networks, scans = [network(classes), network(classes, width=6)], torch.rand(2, 3, 16, 16)
    guide = Guide(networks).eval()
    features, answer = guide(scans)
    assert guide.classes == classes
    assert guide.deepest == [8, 12] == [part.shape[1] for part in features]
    for own, part in zip(networks, features, strict=True):
        assert torch.equal(part, own.levels(scans)[-1])
    found = [own.probabilities(scans) for own in networks]
    torch.testing.assert_close(answer if classes else answer[:, 0], (found[0] + found[1]) / 2)


def test_each_sees_noise_of_its_own_strength() -> None:
    torch.manual_seed(0)
    guide, scans = Guide([network(2), network(2, noise=40.0)]).eval(), torch.rand(2, 3, 16, 16)
    (clear, noisy), _ = guide(scans)
    (clear_again, noisy_again), _ = guide(scans)
    assert torch.equal(clear, clear_again)
    assert not torch.equal(noisy, noisy_again)


def test_a_guide_learns_nothing() -> None:
    guide = Guide([network(2)])
    assert not any(parameter.requires_grad for parameter in guide.parameters())
    assert not guide(torch.rand(1, 3, 16, 16))[1].requires_grad


@pytest.mark.parametrize(("told", "message"), [((), "got 0 of 0"), ((2, 3), "got 2 of 2"), ((2, None), "got 2 of 2")])
def test_networks_of_several_tasks_are_no_guide(told: tuple[int | None, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"guide: expected plain networks of one task, {message}"):
        Guide([network(classes) for classes in told])
