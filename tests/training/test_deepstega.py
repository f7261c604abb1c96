import pytest
import torch
import torch.nn.functional as F

from hidemia.training.deepstega import DeepStega, DeepStegaConfig, enlarged


@pytest.mark.parametrize(("prepared", "expected"), [(7, 469_673), (24, 485_330)])
def test_parameters(prepared: int, expected: int, parameters) -> None:
    assert parameters(DeepStegaConfig(prepared=prepared).build) == expected


def test_multiplications(macs) -> None:
    both = macs(DeepStega, lambda net, photo: (net.hide(photo, photo), net.recover(photo)))
    assert both == pytest.approx(23.643, abs=5e-4)
    with_24 = macs(
        lambda: DeepStega(prepared=24), lambda net, photo: (net.hide(photo, photo), net.recover(photo))
    )  # fmt: skip
    assert 3 * with_24 == pytest.approx(73.30, abs=5e-3)  # Table 7


@pytest.mark.parametrize("size", [(32, 32), (33, 18)])
def test_photos_keep_their_size(size: tuple[int, int]) -> None:
    net = DeepStega(width=5)
    secret, cover = torch.rand(2, 2, 3, *size)
    stego = net.hide(secret, cover)
    assert stego.shape == net.recover(stego).shape == cover.shape
    assert stego.abs().max() <= 1


def test_everything_learns() -> None:
    net = DeepStega(width=5)
    secret, cover = torch.rand(2, 1, 3, 16, 16)
    net.recover(net.hide(secret, cover)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_secret_and_cover_both_show() -> None:
    net = DeepStega(width=5)
    secret, cover, other = torch.rand(3, 1, 3, 16, 16)
    stego = net.hide(secret, cover)
    assert not torch.allclose(net.hide(other, cover), stego)
    assert not torch.allclose(net.hide(secret, other), stego)


def test_enlarged_is_a_padding_with_zeros() -> None:
    x = torch.rand(2, 3, 5, 4)
    assert torch.equal(enlarged(x), F.pad(x, (0, 1, 0, 1)))


def test_last_layers_keep_float32_under_autocast() -> None:
    net = DeepStega(width=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        stego = net.hide(*torch.rand(2, 1, 3, 16, 16))
    assert stego.dtype == torch.float32
    assert not torch.equal(stego, stego.bfloat16().float())
