import pytest
import torch

from hidemia.training.unet import UNet, UNetConfig


@pytest.mark.parametrize(("outputs", "expected"), [(1, 31_037_633), (3, 31_037_763)])
def test_parameters(outputs: int, expected: int, parameters) -> None:
    assert parameters(lambda: UNetConfig().network(outputs, 224)) == expected


def test_multiplications(macs) -> None:
    assert macs(lambda: UNet(1), lambda net, image: net(image)) == pytest.approx(36.878, abs=5e-4)


def test_skips_come_before_what_comes_up() -> None:
    net = UNet(1, width=2).eval()
    seen = []
    net.merge[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    image = torch.rand(1, 3, 32, 32)
    net(image)
    assert seen[0].shape == (1, 4, 32, 32)
    assert torch.equal(seen[0][:, :2], net.down[0](image))
