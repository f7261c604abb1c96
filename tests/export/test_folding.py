"""Other papers' networks, deployed: the same function, and the same photos from ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from hidemia.export.bundles import export_model
from hidemia.export.folding import Affine, FlatGroupNorm, folded, stored, with_norm
from hidemia.export.graphs import Analyze, Hide, Recover, pixels_in
from hidemia.export.lint import problems
from hidemia.export.probes import simulated
from hidemia.export.proof import identical_share
from hidemia.export.tracing import traced
from hidemia.export.writing import to_onnx
from hidemia.runtime import Client, Server
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.cmunext import CMUNeXtConfig
from hidemia.training.deepstega import DeepStegaConfig
from hidemia.training.hidden import HiddenConfig
from hidemia.training.model import ModelConfig
from hidemia.training.plain import matched, vanilla
from hidemia.training.resnet import ResNet50
from hidemia.training.system import System
from hidemia.training.transunet import StandardConv, TransUNetConfig
from hidemia.training.unet import UNetConfig
from hidemia.training.weights import save_weights
from hidemia.training.xnet import XNetConfig

SIDE = 32
HIDERS = {"deepstega": DeepStegaConfig(width=5), "hidden": HiddenConfig(width=4)}
ANALYZERS = {
    "unet": UNetConfig(width=2), "transunet": TransUNetConfig(width=8), "xnet": XNetConfig(width=2),
    "cmunext": CMUNeXtConfig(width=2),
}  # fmt: skip
TOLERANCE = {"unet": 1e-5, "transunet": 1e-3, "xnet": 1e-3, "cmunext": 1e-5}


class Plain(nn.Module):
    """secret -> probability, by a plain network: how whoever wants one beside the others would export it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, secret: torch.Tensor) -> torch.Tensor:
        return self.network.probabilities(pixels_in(secret))


def lively(module: nn.Module) -> nn.Module:
    """Norms that have seen other things than 0 and 1, as after training."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    return module.eval()


def drawing(layer: nn.Module, draw) -> None:
    """Scales a last layer so that what it draws is a photo: around 0.5, and inside [0, 1] for the most part."""
    with torch.no_grad():
        drawn = draw()
        factor = 0.2 / drawn.std()
        parts = [part for part in layer.modules() if isinstance(part, nn.Conv2d)]
        for part in parts:
            part.weight *= factor
            part.bias.copy_(part.bias * factor + 0.5 - drawn.mean() * factor)


def system_of(hider: str, analyzer: str) -> tuple[System, ModelConfig]:
    torch.manual_seed(0)
    config = ModelConfig("rival", image_size_px=SIDE, hider=HIDERS[hider], analyzer=ANALYZERS[analyzer])
    system = lively(config.build())
    photo = torch.rand(4, 3, SIDE, SIDE)
    drawing(system.analyzer.network.head, lambda: system.analyzer(photo))
    if hider == "hidden":
        drawing(system.hider.draw, lambda: system.hider.hide(photo, photo))
    return system.requires_grad_(requires_grad=False), config


def photos(count: int, batch: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, batch, SIDE, SIDE, 3), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("kind", ANALYZERS)
def test_a_folded_analyzer_is_the_same(kind: str) -> None:
    analyzer = system_of("hidden", kind)[0].analyzer.double()
    stego = torch.rand(2, 3, SIDE, SIDE, dtype=torch.float64)
    twin = folded(analyzer)
    assert not any(isinstance(part, nn.BatchNorm2d | nn.GroupNorm | StandardConv) for part in twin.modules())
    torch.testing.assert_close(twin(stego), analyzer(stego), rtol=1e-9, atol=1e-9)
    assert analyzer(stego).std() > 0.1


@pytest.mark.parametrize("kind", HIDERS)
def test_a_folded_hider_is_the_same(kind: str) -> None:
    hider = system_of(kind, "unet")[0].hider.double()
    secret, cover = torch.rand(2, 2, 3, SIDE, SIDE, dtype=torch.float64)
    twin = folded(hider)
    torch.testing.assert_close(twin.hide(secret, cover), hider.hide(secret, cover), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(twin.recover(cover), hider.recover(cover), rtol=1e-9, atol=1e-9)


def test_a_folded_classifier_is_the_same() -> None:
    network = lively(ResNet50(3, width=4)).double().requires_grad_(requires_grad=False)
    twin = folded(network)
    assert not any(isinstance(part, nn.BatchNorm2d | Affine) for part in twin.modules())
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(twin(image), network(image), rtol=1e-9, atol=1e-9)


def test_the_trained_network_is_left_alone() -> None:
    analyzer = system_of("hidden", "transunet")[0].analyzer
    before = {name: value.clone() for name, value in analyzer.state_dict().items()}
    folded(analyzer)
    assert all(torch.equal(before[name], value) for name, value in analyzer.state_dict().items())


def test_parts_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    norm.running_mean.fill_(3.0)
    norm.running_var.fill_(4.0)
    for parameter, value in ((conv.weight, 5.0), (conv.bias, 7.0), (norm.weight, 6.0), (norm.bias, 1.0)):
        nn.init.constant_(parameter, value)
    made = with_norm(conv, norm.eval())  # 6 (5 x + 7 - 3) / 2 + 1
    assert (made.weight.item(), made.bias.item()) == (15.0, 13.0)
    x = torch.rand(2, 1, 3, 3)
    torch.testing.assert_close(Affine(norm)(x), 3 * x - 8)
    groups = nn.GroupNorm(2, 4, eps=1e-6)
    nn.init.normal_(groups.weight)
    nn.init.normal_(groups.bias)
    x = torch.rand(3, 4, 5, 6)
    torch.testing.assert_close(FlatGroupNorm(groups)(x), groups(x))
    standard = StandardConv(3, 4, 3, stride=2, padding=1)
    x = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(stored(standard)(x), standard(x))


@pytest.mark.parametrize("kind", ANALYZERS)
def test_an_analyzer_in_onnxruntime(kind: str) -> None:
    analyzer = system_of("hidden", kind)[0].analyzer
    data = to_onnx(folded(analyzer), (torch.rand(2, 3, SIDE, SIDE),), ["stego"], ["reply"], dynamic=True)
    engine = onnxruntime.InferenceSession(data)
    for batch in (1, 3):
        stego = torch.rand(batch, 3, SIDE, SIDE)
        (got,) = engine.run(None, {"stego": stego.numpy()})
        np.testing.assert_allclose(got, analyzer(stego).numpy(), rtol=0, atol=TOLERANCE[kind])


@pytest.mark.parametrize("kind", ANALYZERS)
def test_the_graph_of_an_analyzer(kind: str) -> None:
    system, _ = system_of("hidden", kind)
    module = Analyze(system, "any", SIDE).eval()
    (example,) = photos(1, 2)
    data = to_onnx(module, (example,), ["stego"], ["reply"], dynamic=True)
    assert problems(onnx.load_from_string(data)) == []
    assert to_onnx(Analyze(system, "any", SIDE).eval(), (example,), ["stego"], ["reply"], dynamic=True) == data
    (stego,) = photos(1, 3)
    (got,) = onnxruntime.InferenceSession(data).run(None, {"stego": stego.numpy()})
    assert (got.shape, got.dtype) == ((3, SIDE, SIDE, 3), np.uint8)
    levels = np.abs(got.astype(int) - module(stego).numpy())
    assert levels.max() <= 1
    assert (levels == 0).mean() > 0.995
    assert got.std() > 20


@pytest.mark.parametrize("kind", HIDERS)
def test_the_graphs_of_a_hider(kind: str) -> None:
    system, _ = system_of(kind, "unet")
    example, (first, second) = photos(2, 2), photos(2, 3)
    hide, recover = Hide(system, "direct", SIDE).eval(), Recover(system, "direct", SIDE).eval()
    data = to_onnx(hide, tuple(example), ["secret", "cover"], ["stego"], dynamic=True)
    (stego,) = onnxruntime.InferenceSession(data).run(None, {"secret": first.numpy(), "cover": second.numpy()})
    levels = np.abs(stego.astype(int) - hide(first, second).numpy())
    assert levels.max() <= 1
    assert (levels == 0).mean() > 0.995
    data = to_onnx(recover, tuple(example), ["reply", "sent"], ["probability"], dynamic=True)
    (got,) = onnxruntime.InferenceSession(data).run(None, {"reply": first.numpy(), "sent": second.numpy()})
    (expected,) = recover(first, second)
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "least"), [("unet", 0.995), ("transunet", 0.97), ("xnet", 0.97), ("cmunext", 0.995)])
def test_deep_networks_have_a_budget_of_their_own(kind: str, least: float) -> None:
    """And it is the analyzer's alone: the hider of the same pair is held to the usual one."""
    system, config = system_of("hidden", kind)
    made = traced(system, config)
    assert {path: identical_share(system, item) for path, item in made.items()} == {
        "hide.fp32.onnx": 0.995, "recover.fp32.onnx": 0.995, "analyze.fp32.any.onnx": least,
    }  # fmt: skip


@pytest.mark.parametrize("make", [matched, lambda model: vanilla(model, width=4)], ids=["matched", "vanilla"])
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_a_plain_network_in_onnxruntime(task: str, make) -> None:
    config = make(ModelConfig("m", task, ("a", "b", "c"), SIDE, analyzer=AnalyzerConfig(width=8, levels=2)))
    torch.manual_seed(0)
    network = lively(config.build()).requires_grad_(requires_grad=False)
    example, (secret,) = photos(1, 2), photos(1, 3)
    last = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)][-1]
    logits = network(pixels_in(secret))
    last.weight /= logits.std()
    last.bias.copy_((last.bias - logits.mean()) / logits.std())
    data = to_onnx(Plain(network).eval(), (example[0],), ["secret"], ["probability"], dynamic=True)
    assert problems(onnx.load_from_string(data)) == []
    (got,) = onnxruntime.InferenceSession(data).run(None, {"secret": secret.numpy()})
    expected = network.probabilities(pixels_in(secret)).numpy()
    assert got.shape == ((3, SIDE, SIDE) if task == "segmentation" else (3, 3))
    assert expected.std() > 0.1
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("hider", "analyzer"), [("deepstega", "transunet"), ("hidden", "xnet")])
def test_a_pair_becomes_bundles(hider: str, analyzer: str, tmp_path) -> None:
    system, config = system_of(hider, analyzer)
    save_weights(system, config, tmp_path / "weights")
    made = export_model(
        tmp_path / "weights", tmp_path / "out", simulated(2, SIDE), public_key=True, precisions=["fp32"]
    )  # fmt: skip
    assert [item.graph.path for item in made.graphs] == ["hide.fp32.onnx", "recover.fp32.onnx", "analyze.fp32.any.onnx"]
    (secret, cover, _), _ = simulated(2, SIDE)
    with Client.load(tmp_path / "out" / "client") as client, Server.load(tmp_path / "out" / "server") as server:
        stego = client.hide(secret, cover)
        probability = client.probability(server.analyze(stego), sent=stego)
    assert probability.shape == (SIDE, SIDE)
    assert np.isfinite(probability).all()
