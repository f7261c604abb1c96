import pytest
import torch

from hidemia.training.hidden import Hidden, HiddenConfig


def test_parameters(parameters) -> None:
    assert parameters(HiddenConfig().build) == 319_299 + 263_043 == 582_342
    assert parameters(lambda: torch.nn.ModuleList([Hidden().reveal, Hidden().draw_secret])) == 263_043


def test_multiplications(macs) -> None:
    assert macs(Hidden, lambda net, photo: net.hide(photo, photo)) == pytest.approx(15.934, abs=5e-4)
    assert macs(Hidden, lambda net, photo: net.recover(photo)) == pytest.approx(13.121, abs=5e-4)


def test_photos_keep_their_size() -> None:
    net = Hidden(width=4)
    secret, cover = torch.rand(2, 2, 3, 20, 13)
    stego = net.hide(secret, cover)
    assert stego.shape == net.recover(stego).shape == cover.shape


def test_everything_learns() -> None:
    net = Hidden(width=4)
    secret, cover = torch.rand(2, 2, 3, 16, 16)
    net.recover(net.hide(secret, cover)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_secret_and_cover_both_show() -> None:
    net = Hidden(width=4).eval()
    secret, cover, other = torch.rand(3, 1, 3, 16, 16)
    stego = net.hide(secret, cover)
    assert not torch.allclose(net.hide(other, cover), stego)
    assert not torch.allclose(net.hide(secret, other), stego)


def test_what_the_mixing_convolution_reads() -> None:
    """Secret eleven times, features, cover: the order of its published kernel."""
    net = Hidden(width=4).eval()
    secret, cover = torch.rand(2, 1, 3, 8, 8)
    seen = []
    net.mix[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    net.hide(secret, cover)
    assert seen[0].shape == (1, 33 + 4 + 3, 8, 8)
    assert torch.equal(seen[0][:, 3 * 7 : 3 * 8], secret)
    assert torch.equal(seen[0][:, 33:37], net.read(cover))
    assert torch.equal(seen[0][:, 37:], cover)
