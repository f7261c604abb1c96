import pytest
import torch
import torch.nn.functional as F

from hidemia.training.cmunext import LARGE, SMALL, CMUNeXt, Shape, base


@pytest.mark.parametrize(
    ("shape", "outputs", "expected"),
    [(base(), 1, 3_149_185), (base(), 3, 3_149_219), (SMALL, 1, 417_505), (LARGE, 1, 8_286_721)],
)
def test_parameters(shape: Shape, outputs: int, expected: int, parameters) -> None:
    assert parameters(lambda: CMUNeXt(outputs, shape)) == expected


@pytest.mark.parametrize(("shape", "expected"), [(base(), 5.536), (SMALL, 0.775), (LARGE, 12.903)])
def test_multiplications(shape: Shape, expected: float, macs) -> None:
    assert macs(lambda: CMUNeXt(1, shape), lambda net, image: net(image)) == pytest.approx(expected, abs=6e-4)


def test_a_block_by_its_formula() -> None:
    block = CMUNeXt(1, base(2)).eval().down[0][0]
    depthwise, _, norm = block.wide
    torch.nn.init.uniform_(norm.running_mean)
    x = torch.rand(1, 2, 8, 8)
    kept = x + norm(F.gelu(F.conv2d(x, depthwise.weight, depthwise.bias, padding=1, groups=2)))
    for conv, _, norm in block.points:
        kept = norm(F.gelu(conv(kept)))
    torch.testing.assert_close(block(x), kept)
