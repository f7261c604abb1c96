import pytest
import torch

from hidemia.training.resnet import ResNet50


@pytest.mark.parametrize("classes", [1000, 7])
def test_parameters(classes: int, parameters) -> None:
    assert parameters(lambda: ResNet50(classes)) == 23_508_032 + 2049 * classes
    assert 23_508_032 + 2049 * 1000 == 25_557_032


def test_multiplications(macs) -> None:
    assert macs(lambda: ResNet50(1000), lambda net, image: net(image)) == pytest.approx(4.089, abs=5e-4)


def test_names_are_those_that_weights_are_published_with() -> None:
    with torch.device("meta"):
        state = ResNet50(1000).state_dict()
    shapes = {
        "conv1.weight": (64, 3, 7, 7), "bn1.running_mean": (64,), "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,), "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.bn3.weight": (1024,), "layer4.2.conv3.weight": (2048, 512, 1, 1), "fc.bias": (1000,),
    }  # fmt: skip
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 320


def test_classes_are_read_and_everything_learns() -> None:
    net = ResNet50(5, width=4)
    logits = net(torch.rand(2, 3, 64, 64))
    assert logits.shape == (2, 5)
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert net.layer2[0].conv2.stride == (2, 2)  # the stride is on the 3x3
