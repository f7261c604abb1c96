import pytest
import torch

from hidemia.training.cmunext import CMUNeXtConfig
from hidemia.training.objective import Aids
from hidemia.training.pixels import PixelAnalyzer, PixelConfig
from hidemia.training.transunet import TransUNetConfig
from hidemia.training.unet import UNetConfig
from hidemia.training.wavelet import dwt, split
from hidemia.training.xnet import XNetConfig

NARROW = [UNetConfig(width=2), TransUNetConfig(width=8), XNetConfig(width=2), CMUNeXtConfig(width=2)]
KINDS = ["unet", "transunet", "xnet", "cmunext"]


@pytest.fixture(params=NARROW, ids=KINDS)
def config(request: pytest.FixtureRequest) -> PixelConfig:
    return request.param


def build(config: PixelConfig, residual: str = "none") -> PixelAnalyzer:
    return type(config)(width=config.width, residual=residual).build(32)


def test_a_photo_becomes_a_photo(config: PixelConfig) -> None:
    analyzer = config.build(32)
    stego = torch.rand(2, 3, 32, 32)
    assert analyzer(stego).shape == stego.shape
    assert analyzer.seal is None


def test_everything_learns(config: PixelConfig) -> None:
    analyzer = config.build(32)
    analyzer(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert [name for name, parameter in analyzer.named_parameters() if parameter.grad is None] == []


def test_in_two_steps_it_is_the_same(config: PixelConfig) -> None:
    for residual in ("none", "all"):
        analyzer = build(config, residual).double().eval()
        torch.nn.init.normal_(next(analyzer.network.head.parameters()), std=0.3)
        stego = torch.rand(2, 3, 32, 32, dtype=torch.float64)
        bands = split(dwt(stego))
        features = analyzer.features(bands)
        assert {feature.shape for feature in features.maps.values()} == {(2, 4 * analyzer.width, 16, 16)}
        torch.testing.assert_close(analyzer.reply(bands, features), analyzer(stego))


def test_the_aids_read_its_features(config: PixelConfig) -> None:
    analyzer = config.build(32)
    features = analyzer.features(split(dwt(torch.rand(1, 3, 32, 32))))
    reconstruction, logits = Aids(analyzer.width, None)(features)
    assert reconstruction.shape == (1, 3, 16, 16)
    assert logits.shape == (1, 1, 16, 16)


def test_with_the_residual_a_fresh_one_answers_with_the_stego(config: PixelConfig) -> None:
    stego = torch.rand(1, 3, 32, 32)
    assert torch.equal(build(config, "all").eval()(stego), stego)
    assert not torch.allclose(build(config).eval()(stego), stego, atol=0.05)


def test_images_of_a_batch_do_not_meet(config: PixelConfig) -> None:
    analyzer = config.build(32).double().eval()
    batch = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    alone = torch.cat([analyzer(image) for image in batch.split(1)])
    torch.testing.assert_close(analyzer(batch), alone)


def test_photos_keep_float32_under_autocast(config: PixelConfig) -> None:
    analyzer = config.build(32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reply = analyzer(torch.rand(2, 3, 32, 32))
    assert reply.dtype == torch.float32
    assert not torch.equal(reply, reply.bfloat16().float())
