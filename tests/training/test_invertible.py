import math

import pytest
import torch
from torch import nn

from hidemia.training.channel import to_uint8
from hidemia.training.invertible import (
    DenseSubnet,
    InvertibleBlock,
    InvertibleHider,
    hinet,
    light_ih,
    log_scale,
)
from hidemia.training.wavelet import dwt, iwt


def macs(hider: nn.Module, run: str, *inputs: torch.Tensor) -> float:
    """Multiply-adds of all convolutions of one call for each pixel of a band, counted as they run."""
    total = 0

    def count(conv: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += conv.weight.numel() * output.shape[2] * output.shape[3]

    for module in hider.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    getattr(hider, run)(*inputs)
    return total / 64


@pytest.mark.parametrize(
    ("build", "blocks", "parameters", "tensors"), [(hinet, 16, 4_050_240, 480), (light_ih, 4, 1_012_560, 120)]
)
def test_size_and_names(build, blocks: int, parameters: int, tensors: int) -> None:
    state = build().state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == parameters
    assert len(state) == tensors
    assert set(state) == {
        f"inv{i}.{net}.conv{j}.{kind}"
        for i in range(1, blocks + 1)
        for net in "ryf"
        for j in range(1, 6)
        for kind in ("weight", "bias")
    }
    for j, inputs in enumerate((12, 44, 76, 108, 140), start=1):
        assert state[f"inv1.f.conv{j}.weight"].shape == (12 if j == 5 else 32, inputs, 3, 3)


def test_slopes() -> None:
    assert {module.slope for module in hinet().modules() if isinstance(module, DenseSubnet)} == {0.01}
    assert {module.slope for module in light_ih(slope=0.3).modules() if isinstance(module, DenseSubnet)} == {0.3}


def test_cost_of_a_direction() -> None:
    bands, photo = torch.rand(1, 12, 8, 8), torch.rand(1, 3, 16, 16)
    full, subnet = 1_010_880, 84_240
    assert macs(light_ih(), "hide_bands", bands, bands) == full
    assert macs(light_ih(), "reveal_bands", bands, bands) == full
    assert round(112 * 112 * full / 1e9, 3) == 12.680
    assert macs(hinet(), "hide_bands", bands, bands) == 4_043_520
    # What is sent away needs neither rho nor eta of the last block, what is recovered no phi of the first.
    assert macs(light_ih(), "hide", photo, photo) == full - 2 * subnet
    assert macs(light_ih(), "recover", photo) == full - subnet


def test_dense_subnet_by_its_formula(shake) -> None:
    net = shake(DenseSubnet(growth=4, slope=0.2))
    x = torch.randn(1, 12, 6, 6)
    seen = x
    for conv in (net.conv1, net.conv2, net.conv3, net.conv4):
        v = nn.functional.conv2d(seen, conv.weight, conv.bias, padding=1)
        seen = torch.cat([seen, torch.where(v > 0, v, 0.2 * v)], dim=1)
    expected = nn.functional.conv2d(seen, net.conv5.weight, net.conv5.bias, padding=1)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(net(x), expected)


def test_block_by_its_formula(shake) -> None:
    block = shake(InvertibleBlock(growth=4, slope=0.2)).double()
    cover, secret = torch.randn(2, 1, 12, 6, 6, dtype=torch.float64)
    mixed = cover + block.f(secret)
    factor = torch.exp(2.0 * 2 * (torch.sigmoid(block.r(mixed)) - 0.5))  # as HiNet writes it
    kept_cover, kept_secret = block.hide(cover, secret)
    assert (factor - 1).abs().max() > 0.1
    torch.testing.assert_close(kept_cover, mixed)
    torch.testing.assert_close(kept_secret, secret * factor + block.y(mixed))


def test_scale_is_bounded() -> None:
    assert log_scale(torch.tensor([-1e4, 0.0, 1e4])).tolist() == [-2, 0, 2]
    v = torch.zeros(1, requires_grad=True)
    log_scale(v).backward()
    assert v.grad.item() == 1
    assert log_scale(torch.tensor(1.0)).item() == pytest.approx(2 * math.tanh(0.5))


@pytest.mark.parametrize("build", [hinet, light_ih])
def test_starts_as_the_identity(build) -> None:
    hider = build()
    cover = torch.randint(256, (2, 3, 16, 16)) / 255
    secret = torch.rand(2, 3, 16, 16)
    bands = hider.hide_bands(dwt(cover), dwt(secret))
    assert torch.equal(bands[0], dwt(cover))
    assert torch.equal(bands[1], dwt(secret))
    stego = hider.hide(secret, cover)
    assert torch.equal(to_uint8(stego), to_uint8(cover))
    assert hider.recover(stego).abs().max() == 0  # the latent, which is zero


@pytest.mark.parametrize("blocks", [4, 16])
def test_inversion_with_the_latent_known(blocks: int, shake) -> None:
    hider = shake(InvertibleHider(blocks, growth=8), std=0.03).double()
    cover, secret = map(dwt, torch.rand(2, 1, 3, 32, 32, dtype=torch.float64))
    stego, latent = hider.hide_bands(cover, secret)
    assert (stego - cover).abs().max() > 0.1
    assert (latent - secret).abs().max() > 0.1
    back = hider.reveal_bands(stego, latent)
    assert (back[0] - cover).abs().max() < 1e-9
    assert (back[1] - secret).abs().max() < 1e-9


def test_nothing_is_lost_by_leaving_out_dead_branches(shake) -> None:
    hider = shake(light_ih(growth=8), std=0.05)
    cover, secret = torch.rand(2, 2, 3, 16, 16)
    with torch.no_grad():
        stego = hider.hide(secret, cover)
        assert torch.equal(stego, iwt(hider.hide_bands(dwt(cover), dwt(secret))[0]))
        revealed = hider.reveal_bands(dwt(stego), torch.zeros(2, 12, 8, 8))[1]
        assert torch.equal(hider.recover(stego), iwt(revealed))
    assert (stego - cover).abs().max() > 0.01
    assert revealed.abs().max() > 0.01


def test_recovery_needs_no_luck(shake) -> None:
    hider = shake(light_ih(growth=4))
    photo = torch.rand(1, 3, 16, 16)
    assert torch.equal(hider.recover(photo), hider.recover(photo))


def test_hiding_depends_on_both_images(shake) -> None:
    hider = shake(light_ih(growth=4), std=0.05)
    secret, cover = torch.rand(2, 1, 3, 16, 16)
    stego = hider.hide(secret, cover)
    assert not torch.equal(stego, hider.hide(1 - secret, cover))
    assert not torch.equal(stego, hider.hide(secret, 1 - cover))


def test_couplings_stay_in_float32_under_autocast(shake) -> None:
    hider = shake(light_ih(growth=4), std=0.05)
    cover, secret = map(dwt, torch.rand(2, 1, 3, 16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        stego, latent = hider.hide_bands(cover, secret)
        back = hider.reveal_bands(stego, latent)
    assert stego.dtype == latent.dtype == torch.float32
    # The subnets ran in bfloat16, the couplings did not: the same subnet values come back out to 6 digits.
    exact = hider.hide_bands(cover, secret)[0]
    assert 1e-5 < (stego - exact).abs().max() < 0.1
    assert (back[0] - cover).abs().max() < (stego - exact).abs().max()


def test_every_parameter_learns(shake) -> None:
    hider = shake(light_ih(growth=4), std=0.05)
    secret, cover = torch.rand(2, 1, 3, 16, 16)
    hider.recover(hider.hide(secret, cover)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in hider.parameters())
