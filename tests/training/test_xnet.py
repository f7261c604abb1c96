import pytest
import torch

from hidemia.training.xnet import AveragedHeads, XNet, XNetConfig, frequencies, stretched


def test_parameters(parameters) -> None:
    assert parameters(lambda: XNetConfig().network(2, 224)) == 326_177_668


def test_multiplications(macs) -> None:
    found = macs(lambda: XNet(2), lambda net, image: net(image))
    assert found == pytest.approx(254.9, abs=0.05)


def test_frequencies_by_hand() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[..., :2, 1] = 1.0  # a column in the upper left block: hl and ll, and no other band
    low, high = frequencies(image)
    assert low.shape == (1, 3, 4, 4)
    assert high.shape == (1, 1, 4, 4)
    assert low[..., 0, 0].tolist() == [[0.5, 0.5, 0.5]]  # ll / 2 is the mean of the block
    assert high[0, 0, 0, 0].item() == pytest.approx(1, abs=1e-5)
    assert high[0, 0, 3, 3].item() == pytest.approx(0, abs=1e-5)


def test_each_image_is_stretched_alone() -> None:
    images = torch.tensor([[1.0, 3.0], [10.0, 50.0]]).view(2, 1, 1, 2)
    torch.testing.assert_close(stretched(images), torch.tensor([[0.0, 1.0]] * 2).view(2, 1, 1, 2))
    assert stretched(torch.full((1, 1, 2, 2), 7.0)).abs().max() == 0


def test_heads_are_averaged() -> None:
    heads, features = AveragedHeads(2, 3), torch.rand(1, 4, 5, 5)
    expected = (heads.low(features[:, :2]) + heads.high(features[:, 2:])) / 2
    torch.testing.assert_close(heads(features), expected)


def test_each_branch_feels_the_other() -> None:
    net = XNet(1, width=2).eval()
    image = torch.rand(1, 3, 32, 32)
    before = net.features(image)
    torch.nn.init.normal_(net.high.down4[0].weight, std=3.0)  # from there to the low branch alone
    after = net.features(image)
    assert not torch.allclose(before[:, :2], after[:, :2])
    assert torch.equal(before[:, 2:], after[:, 2:])
