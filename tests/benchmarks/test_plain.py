import onnx
import onnxruntime
import pytest
import torch
from tests.micro import micro_config, micro_system

from hidemia.benchmarks import plain
from hidemia.benchmarks.bench import hide_multiply_adds
from hidemia.export.deploy import deployed
from hidemia.export.graphs import Hide
from hidemia.training.invertible import light_ih
from hidemia.training.wavelet import dwt, iwt


@pytest.fixture(scope="module")
def system():
    return micro_system(micro_config())


def photos(count):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, 1, 64, 64, 3), dtype=torch.uint8, generator=generator)


def test_sliced_haar_is_haar():
    image = torch.rand(2, 3, 8, 10, dtype=torch.float64)
    torch.testing.assert_close(plain.sliced_dwt(image), dwt(image), rtol=0, atol=1e-12)
    bands = torch.rand(2, 12, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(plain.sliced_iwt(bands), iwt(bands), rtol=0, atol=1e-12)


@pytest.mark.parametrize("whole", [True, False])
def test_plain_hide_computes_the_same_stego(system, whole):
    secret, cover = photos(2)
    data = plain.plain_export(plain.PlainHide(system.hider, whole=whole), {"secret": secret, "cover": cover}, "stego")
    kinds = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert "ScatterND" in kinds
    (got,) = onnxruntime.InferenceSession(data).run(None, {"secret": secret.numpy(), "cover": cover.numpy()})
    expected = Hide(system, "direct", 64)(secret, cover).numpy()
    assert abs(got.astype(int) - expected).max() <= 1


def test_branches_equal_and_plain_convolutions_do_not(system):
    stego = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    analyzer = system.analyzer.double()
    with torch.no_grad():
        expected = deployed(analyzer, "any", 64)(stego)
        torch.testing.assert_close(plain.branched(analyzer, 64)(stego), expected, rtol=0, atol=1e-9)
        assert (plain.vanilla(analyzer, 64)(stego) - expected).abs().mean() > 1e-3
    analyzer.float()


def test_multiply_adds_of_a_stego():
    # LightIH's 1,010,880 weights less two subnets of 84,240, at every pixel of a band.
    assert hide_multiply_adds(light_ih(), 224) == (1_010_880 - 2 * 84_240) * 112**2
