import pytest
import torch
from torch import Tensor, nn

from hidemia.training.asywa import VARIANTS, AsyWA
from hidemia.training.wavelet import BANDS, HIGH_BANDS

# Table 6, row by row: whose cues each band takes.
TABLE_6 = {
    "none": {"ll": "", "hl": "", "lh": "", "hh": ""},
    "inner": {"ll": "ll", "hl": "hl", "lh": "lh", "hh": "hh"},
    "inter_symmetric": {"ll": "hl lh hh", "hl": "ll lh hh", "lh": "ll hl hh", "hh": "ll hl lh"},
    "inter_asymmetric": {"ll": "hl lh hh", "hl": "lh hh", "lh": "hl hh", "hh": "hl lh"},
    "symmetric": dict.fromkeys(BANDS, "ll hl lh hh"),
    "asymmetric": {"ll": "ll hl lh hh", "hl": "hl lh hh", "lh": "hl lh hh", "hh": "hl lh hh"},
}
ATTENTIVE = [variant for variant in TABLE_6 if variant != "none"]


def features(
    height: int = 5, width: int = 7, channels: int = 8, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    size = (2, channels, height, width)
    return {band: torch.randn(size, dtype=dtype, requires_grad=True) for band in BANDS}


def project(module: nn.Linear, x: Tensor) -> Tensor:
    return x @ module.weight.T + module.bias


def heads_of(x: Tensor, heads: int) -> list[Tensor]:
    return list(x.chunk(heads, dim=-1))


def mha(module: AsyWA, x1: Tensor, name1: str, x2: Tensor, name2: str, root: float) -> Tensor:
    """Eq. 4 as printed, pixel against pixel: Q(x2) K(x1)^T / root V(x1), head by head; x (N, C)."""
    channels = x1.shape[1]
    q = project(module.qkv[name2], x2)[:, :channels]
    k, v = project(module.qkv[name1], x1)[:, channels:].chunk(2, dim=1)
    parts = zip(*(heads_of(t, module.heads) for t in (q, k, v)), strict=True)
    return torch.cat([(q_h @ k_h.T / root) @ v_h for q_h, k_h, v_h in parts], dim=1)


@pytest.mark.parametrize("scale", ["n", "sqrt_n"])
@pytest.mark.parametrize("variant", TABLE_6)
def test_equations_4_to_6_as_printed(variant: str, scale: str, shake) -> None:
    module = shake(AsyWA(8, heads=2, variant=variant, scale=scale), std=0.5).double()
    bands = features()
    pixels = 5 * 7
    root = pixels if scale == "n" else pixels**0.5
    answer = module(bands)
    for sample in range(2):
        tokens = {b: x[sample].flatten(1).T for b, x in bands.items()}  # (N, C)
        if variant != "none":
            normed = {
                b: (t - t.mean(1, keepdim=True)) / (t.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
                * module.norm[b].weight + module.norm[b].bias
                for b, t in tokens.items()
            }  # fmt: skip
        for receiver, sources in TABLE_6[variant].items():
            expected = tokens[receiver]
            if sources:
                terms = [
                    mha(module, normed[receiver], receiver, normed[source], source, root) for source in sources.split()
                ]
                expected = expected + project(module.out[receiver], sum(terms))
                assert (expected - tokens[receiver]).abs().max() > 0.1
            torch.testing.assert_close(answer[receiver][sample].flatten(1).T, expected, atol=1e-10, rtol=1e-10)


def test_all_rows_are_there() -> None:
    assert set(VARIANTS) == set(TABLE_6)


@pytest.mark.parametrize("variant", TABLE_6)
def test_who_hears_whom(variant: str, shake) -> None:
    module = shake(AsyWA(8, heads=2, variant=variant), std=0.5).double()
    bands = features()
    answer = module(bands)
    for receiver, sources in TABLE_6[variant].items():
        gradients = torch.autograd.grad(
            answer[receiver].pow(3).sum(), [bands[b] for b in BANDS], retain_graph=True, allow_unused=True
        )
        for band, gradient in zip(BANDS, gradients, strict=True):
            heard = gradient is not None and bool(gradient.abs().max() > 0)
            assert heard == (band == receiver or band in sources.split()), (receiver, band)


@pytest.mark.parametrize("variant", ["asymmetric", "inter_asymmetric"])
def test_low_band_never_reaches_the_high_ones(variant: str, shake) -> None:
    module = shake(AsyWA(8, heads=2, variant=variant), std=0.5)
    bands = features(dtype=torch.float32)
    before = module(bands)
    after = module(bands | {"ll": torch.randn_like(bands["ll"]) * 1e3})
    for name in HIGH_BANDS:
        assert torch.equal(before[name], after[name])
    assert not torch.equal(before["ll"], after["ll"])


@pytest.mark.parametrize("variant", ["symmetric", "inter_symmetric"])
def test_symmetry_breaks_it(variant: str, shake) -> None:
    module = shake(AsyWA(8, heads=2, variant=variant), std=0.5)
    bands = features(dtype=torch.float32)
    before = module(bands)
    after = module(bands | {"ll": torch.randn_like(bands["ll"])})
    for name in HIGH_BANDS:
        assert (before[name] - after[name]).abs().max() > 0.01


@pytest.mark.parametrize("variant", ATTENTIVE)
def test_starts_as_the_identity(variant: str) -> None:
    bands = features(dtype=torch.float32)
    answer = AsyWA(8, variant=variant)(bands)
    assert all(torch.equal(answer[name], bands[name]) for name in BANDS)


def test_without_attention_there_is_nothing() -> None:
    module = AsyWA(7, variant="none")
    assert list(module.parameters()) == []
    bands = features(channels=7)
    assert all(module(bands)[name] is bands[name] for name in BANDS)


@pytest.mark.parametrize(("scale", "growth"), [("n", 1), ("sqrt_n", 2)])
def test_size_of_the_term_with_resolution(scale: str, growth: int, shake) -> None:
    module = shake(AsyWA(8, heads=2, scale=scale), std=0.5).double()
    for projection in module.out.values():
        nn.init.zeros_(projection.bias)
    bands = features()
    doubled = {name: x.repeat(1, 1, 2, 2) for name, x in bands.items()}  # four times the pixels
    once, twice = module(bands), module(doubled)
    for name in BANDS:
        term = (once[name] - bands[name]).repeat(1, 1, 2, 2)
        torch.testing.assert_close(twice[name] - doubled[name], growth * term)


@pytest.mark.parametrize("scale", ["n", "sqrt_n"])
def test_finite_at_full_size(scale: str, shake) -> None:
    module = shake(AsyWA(8, scale=scale))
    bands = {name: 1e3 * torch.randn(1, 8, 112, 112) for name in BANDS}
    answer = module(bands)
    for name in BANDS:
        assert answer[name].isfinite().all()
        assert (answer[name] - bands[name]).abs().max() < 1e3  # the norm keeps the term off the features' size


def test_sums_in_float32_under_autocast(shake) -> None:
    module = shake(AsyWA(8), std=0.3)
    bands = features(16, 16, dtype=torch.float32)
    expected = module(bands)
    with torch.autocast("cpu", torch.bfloat16):
        answer = module(bands)
        halves = module({name: x.bfloat16() for name, x in bands.items()})
    for name in BANDS:
        assert torch.equal(answer[name], expected[name])
        assert halves[name].dtype == torch.float32


def test_samples_do_not_mix(shake) -> None:
    module = shake(AsyWA(8), std=0.3).double()
    bands = features()
    together = module(bands)
    alone = module({name: x[1:] for name, x in bands.items()})
    for name in BANDS:
        torch.testing.assert_close(together[name][1:], alone[name])


def test_every_parameter_learns(shake) -> None:
    module = shake(AsyWA(8), std=0.3).double()
    sum(x.pow(3).sum() for x in module(features()).values()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "both"}, "variant: expected one of none, inner, .*, got 'both'"),
        ({"scale": "d"}, "scale: expected 'n' or 'sqrt_n', got 'd'"),
        ({"heads": 3}, "channels: expected a multiple of the 3 heads, got 8"),
    ],
)
def test_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AsyWA(8, **options)
