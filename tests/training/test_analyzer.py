from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hidemia.training.analyzer import Analyzer, AnalyzerConfig, front
from hidemia.training.channel import to_uint8, transmit
from hidemia.training.wavelet import BANDS, HIGH_BANDS, dwt, split

TINY = {"width": 8, "levels": 2, "attention_levels": 1}


def tiny(**options) -> Analyzer:
    return Analyzer(AnalyzerConfig(**(TINY | options)))


@pytest.mark.parametrize("options", [{}, {"diagonals": "literal5"}, {"k": 0, "attention": "none"}])
def test_fresh_one_answers_with_the_stego(options: dict[str, object]) -> None:
    stego = torch.randint(256, (2, 3, 32, 48)) / 255
    reply = tiny(**options)(stego)
    assert reply.shape == stego.shape
    assert (reply - stego).abs().max() < 1e-6
    assert torch.equal(to_uint8(transmit(reply)), to_uint8(stego))


def with_biases(residual: str) -> Analyzer:
    """Heads that say 1, 2, 3, 4 in ll, hl, lh, hh whatever they see."""
    analyzer = tiny(residual=residual)
    for value, name in enumerate(BANDS, start=1):
        nn.init.constant_(analyzer.heads[name].bias, value)
    return analyzer


@pytest.mark.parametrize("residual", ["all", "ll", "none"])
def test_equation_1_by_hand(residual: str) -> None:
    stego = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    a, b, c, d = (stego[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    mean = (a + b + c + d) / 4
    # Heads count a tenth: ll 0.1, hl 0.2, lh 0.3, hh 0.4, and each pixel is half their signed sum.
    expected = torch.empty_like(stego)
    expected[..., 0::2, 0::2] = (0.1 - 0.2 - 0.3 + 0.4) / 2
    expected[..., 0::2, 1::2] = (0.1 + 0.2 - 0.3 - 0.4) / 2
    expected[..., 1::2, 0::2] = (0.1 - 0.2 + 0.3 - 0.4) / 2
    expected[..., 1::2, 1::2] = (0.1 + 0.2 + 0.3 + 0.4) / 2
    if residual == "all":
        expected += stego
    elif residual == "ll":  # only the mean of each block is left of the stego
        expected += mean.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(with_biases(residual).double()(stego), expected, atol=1e-7, rtol=0)


def test_paper_is_residual_in_ll_only() -> None:
    assert AnalyzerConfig(residual="ll").residual_bands() == ("ll",)
    assert AnalyzerConfig(residual="none").residual_bands() == ()
    assert AnalyzerConfig().residual_bands() == BANDS


def test_each_head_answers_in_its_own_band() -> None:
    stego = torch.rand(1, 3, 16, 16)
    before = split(dwt(stego))
    for name in BANDS:
        analyzer = tiny()
        nn.init.constant_(analyzer.heads[name].bias, 0.5)
        after = split(dwt(analyzer(stego)))
        for other in BANDS:
            change = after[other] - before[other]
            torch.testing.assert_close(change, torch.full_like(change, 0.05 * (other == name)), atol=2e-6, rtol=0)


def test_front_by_hand() -> None:
    flat = torch.full((1, 3, 6, 6), 0.5)
    for name in BANDS:
        scaled, fine = front(flat, name).split(3, dim=1)
        assert torch.equal(scaled, torch.full_like(flat, -0.5 if name == "ll" else 4.0))
        assert torch.equal(fine[..., 1:-1, 1:-1], torch.zeros(1, 3, 4, 4))
        assert fine[..., 0, :].min() == 1  # outside counts as zero: a border of a bright band
    spot = torch.zeros(1, 3, 7, 7)
    spot[:, 1, 3, 3] = 0.005
    fine = front(spot, "hh")[:, 3:]
    expected = torch.zeros(1, 3, 7, 7)
    expected[:, 1, 3, 3] = 4 * 0.005 * 32
    expected[:, 1, [2, 4, 3, 3], [3, 3, 2, 4]] = -0.005 * 32
    torch.testing.assert_close(fine, expected)


def test_front_sees_two_grey_levels_and_is_bounded() -> None:
    level = torch.zeros(1, 3, 8, 8)
    level[..., ::2] = 2 / 255
    assert front(level, "ll")[:, 3:].abs().max() > 0.25
    assert front(torch.rand(1, 3, 8, 8), "hl")[:, 3:].aminmax() == (-1, 1)


def test_unet_by_its_formula(shake) -> None:
    analyzer = shake(tiny(k=0, attention="none")).double().eval()
    bands = split(dwt(torch.rand(1, 3, 16, 16, dtype=torch.float64)))

    def block(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        for conv, norm in ((net.conv1, net.norm1), (net.conv2, net.norm2)):
            x = norm(F.conv2d(x, conv.weight, padding=1)).clamp_min(0)
        return x

    found = analyzer.features(bands).maps
    for name in BANDS:
        net = analyzer.unets[name]
        fine = block(net.down[0], front(bands[name], name))
        coarse = block(net.down[1], fine.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax(dim=(3, 5)))
        merged = block(net.merge[0], torch.cat([fine, net.up[0](coarse)], dim=1))
        torch.testing.assert_close(found[name], merged)


def double_conv(inputs: int, outputs: int) -> int:
    return 9 * (inputs + outputs) * outputs + 2 * 2 * outputs


def gate(inputs: int, candidates: int = 5) -> int:
    hidden = max(8, inputs // 4)
    return inputs * hidden + hidden + hidden * candidates + candidates


def unet(widths: list[int], gated: bool) -> int:
    """Parameters of a U-Net on six channels: encoder, up-convolutions, decoder."""
    pairs = list(pairwise([6, *widths]))
    pairs += [(2 * width, width) for width in widths[:-1]]
    total = sum(double_conv(i, o) + gated * (gate(i) + gate(o)) for i, o in pairs)
    return total + sum(4 * deep * shallow + shallow for shallow, deep in pairwise(widths))


@pytest.mark.parametrize(
    ("options", "gated"), [({"k": 0, "attention": "none", "width": 16, "levels": 4}, False), ({}, True)]
)
def test_four_unets(options: dict[str, object], gated: bool) -> None:
    config = AnalyzerConfig(**options)
    widths = [config.width * 2**level for level in range(config.levels)]
    attention = 0
    if config.attention != "none":
        attention = sum(4 * (2 * c + 3 * c * (c + 1) + c * (c + 1)) for c in widths[-2:])
    heads = 4 * 3 * (config.width + 1)
    analyzer = Analyzer(config)
    assert list(analyzer.unets) == list(BANDS)
    expected = 4 * unet(widths, gated) + attention + heads
    assert sum(parameter.numel() for parameter in analyzer.parameters()) == expected


def test_shipped_size() -> None:
    plain = Analyzer(AnalyzerConfig(k=0, attention="none"))
    assert round(sum(parameter.numel() for parameter in plain.parameters()) / 1e6, 2) == 1.93


def test_attention_sits_at_the_deepest_levels() -> None:
    assert list(Analyzer(AnalyzerConfig()).attention) == ["2", "3"]
    assert list(tiny(attention_levels=0).attention) == []


@pytest.mark.parametrize(("attention", "reached"), [("asymmetric", False), ("symmetric", True)])
def test_high_bands_are_analysed_without_ll(attention: str, reached: bool, shake) -> None:
    analyzer = shake(tiny(attention=attention)).eval()
    bands = {name: band.requires_grad_() for name, band in split(dwt(torch.rand(1, 3, 32, 32))).items()}
    found = analyzer.features(bands).maps
    for name in HIGH_BANDS:
        gradient = torch.autograd.grad(found[name].sum(), bands["ll"], retain_graph=True, allow_unused=True)[0]
        assert (gradient is not None and bool(gradient.abs().max() > 0)) == reached
    for name in BANDS:
        assert torch.autograd.grad(found["ll"].sum(), bands[name], retain_graph=True)[0].abs().max() > 0


def test_sees_a_wide_field(shake) -> None:
    analyzer = shake(tiny(levels=3, k=0, attention="none")).eval()
    stego = torch.rand(1, 3, 64, 64, requires_grad=True)
    analyzer(stego)[0, :, 32, 32].sum().backward()
    rows, columns = stego.grad[0].abs().sum(dim=0).nonzero().T
    assert rows.max() - rows.min() >= 50
    assert columns.max() - columns.min() >= 50


def test_every_parameter_learns(shake) -> None:
    analyzer = shake(tiny(attention_levels=2))
    analyzer(torch.rand(4, 3, 32, 32)).pow(3).sum().backward()
    silent = [name for name, p in analyzer.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []


@pytest.mark.parametrize("residual", ["all", "ll", "none"])
def test_reply_is_float32_under_autocast(residual: str, shake) -> None:
    analyzer = shake(tiny(residual=residual)).eval()
    stego = torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        assert analyzer(stego).dtype == torch.float32


def test_samples_do_not_mix(shake) -> None:
    analyzer = shake(tiny()).double().eval()
    stego = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    alone = torch.cat([analyzer(photo[None]) for photo in stego])
    assert (analyzer(stego) - alone).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"residual": "hh"}, "residual: expected 'all', 'll' or 'none', got 'hh'"),
        ({"attention_levels": 5}, "attention_levels: expected 0 to 4, got 5"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnalyzerConfig(**options)
