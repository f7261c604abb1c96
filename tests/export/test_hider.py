from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from tests.micro import micro_config, micro_system

from hidemia.export.graphs import Hide, Recover
from hidemia.export.hider import INPUT, KERNEL, OUTPUT, DeployedHider, Tiling, filled, haar_planes
from hidemia.export.writing import to_onnx
from hidemia.training.invertible import InvertibleHider

FORMS = ("direct", "tiled")


def random_hider(blocks, growth):
    torch.manual_seed(5)
    hider = InvertibleHider(blocks=blocks, growth=growth).double()
    for parameter in hider.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return hider.requires_grad_(requires_grad=False)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("blocks", "growth"), [(2, 4), (2, 32), (4, 16)])
@pytest.mark.parametrize("batch", [1, 5])
def test_both_directions_equal_training(form, blocks, growth, batch):
    hider = random_hider(blocks, growth)
    secret, cover = torch.rand(2, batch, 3, 24, 24, dtype=torch.float64)
    hidden, recovered = hider.hide(secret, cover), hider.recover(cover)
    assert (hidden - cover).abs().mean() > 1e-2
    assert recovered.std() > 1e-2
    got = DeployedHider(hider, "hide", form, 24).hide(secret, cover)
    torch.testing.assert_close(got, hidden, rtol=0, atol=1e-11)
    got = DeployedHider(hider, "recover", form, 24).recover(cover)
    torch.testing.assert_close(got, recovered, rtol=1e-9, atol=1e-9)


def test_four_outputs_from_six_products():
    row, taps = torch.rand(6, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    expected = torch.stack([row[i : i + 3] @ taps for i in range(4)])
    torch.testing.assert_close(OUTPUT @ ((KERNEL @ taps) * (INPUT @ row)), expected, rtol=0, atol=1e-14)


def test_a_row_in_planes_is_convolved_across_tiles():
    # One channel, one row of 12: plane p holds the pixels p, p + 4, p + 8.
    row, taps = torch.rand(12, dtype=torch.float64), torch.rand(3, dtype=torch.float64)
    tiling = Tiling(1, 3, torch.float64)
    points = tiling.enter(row.reshape(3, 4).T.reshape(1, 4, 1, 1, 3))
    assert points.shape == (1, 6, 1, 3)
    planes = tiling.leave(points * (KERNEL @ taps)[None, :, None, None])
    expected = F.conv1d(row[None, None], taps[None, None], padding=1)[0, 0]
    torch.testing.assert_close(planes.reshape(4, 3).T.flatten(), expected, rtol=0, atol=1e-14)


def test_only_the_subnets_that_are_needed():
    hider = random_hider(3, 4)
    hide, recover = (DeployedHider(hider, direction, "direct", 24) for direction in ("hide", "recover"))
    assert (list(hide.f), list(hide.ry)) == (["0", "1", "2"], ["0", "1"])
    assert (list(recover.f), list(recover.ry)) == (["1", "2"], ["0", "1", "2"])


def test_filled_and_planes_by_hand():
    assert filled(torch.ones(12, 3), dim=0).shape == (16, 3)
    assert filled(torch.ones(12, 3), dim=0).sum() == 36
    assert filled(torch.ones(32, 3), dim=0).shape == (32, 3)
    kernel = haar_planes(4)
    assert kernel.shape == (64, 3, 2, 8)
    for p in range(4):
        columns = kernel[16 * p : 16 * (p + 1)].abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        assert columns.tolist() == [2 * p, 2 * p + 1]


@pytest.fixture(scope="module")
def system():
    return micro_system(micro_config())


def photos(count, batch):
    return torch.randint(
        0, 256, (count, batch, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_graph(system, form):
    secret, cover = photos(2, 2)
    names, outputs = ["secret", "cover"], ["stego"]
    data = to_onnx(Hide(system, form, 64), (secret, cover), names, outputs, dynamic=True)
    model = onnx.load_from_string(data)
    kinds = Counter(node.op_type for node in model.graph.node)
    # Haar is a node each way, once for every photo; 5 + 4 + ... + 1 convolutions make each of the two phi and rho, eta.
    transforms = 3 * 5 if form == "tiled" else 0
    assert (kinds["ConvTranspose"], kinds["Conv"]) == (1, 2 + 3 * 15 + transforms)
    assert not {"ScatterND", "Slice", "Shape", "Concat"} & set(kinds)
    dividends = {node.input[0] for node in model.graph.node if node.op_type == "Div"}
    assert len(dividends) == 3  # 255 under the two photos, 2 inside tanh(v / 2): none in the coupling
    named = {node.name for node in model.graph.node}
    for part in ("f.0", "ry.0", "f.1"):
        assert {f"/{part}/conv{i}/Conv" for i in range(1, 6)} <= named


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("batch", [1, 5])
def test_every_batch_in_onnxruntime(system, form, batch):
    example, fed = photos(2, 2), photos(2, batch)
    hide = to_onnx(Hide(system, form, 64), tuple(example), ["secret", "cover"], ["stego"], dynamic=True)
    feed = {"secret": fed[0].numpy(), "cover": fed[1].numpy()}
    (got,) = onnxruntime.InferenceSession(hide).run(None, feed)
    expected = Hide(system, "direct", 64)(fed[0], fed[1]).detach().numpy()
    assert np.abs(got.astype(int) - expected).max() <= 1
    assert (got == expected).mean() > 0.999
    module = Recover(system, form, 64).eval()
    recover = to_onnx(module, tuple(example), ["reply", "sent"], ["probability", "seal"], dynamic=True)
    got, seal = onnxruntime.InferenceSession(recover).run(None, {"reply": fed[0].numpy(), "sent": fed[1].numpy()})
    expected, expected_seal = (part.detach().numpy() for part in module(fed[0], fed[1]))
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(seal, expected_seal, atol=1e-3)
