import pytest
import torch
import torch.nn.functional as F

from hidemia.training.transunet import HEADS, Attention, StandardConv, TransUNet, TransUNetConfig


def test_parameters(parameters) -> None:
    assert parameters(lambda: TransUNetConfig().network(3, 224)) == 105_276_211
    parts = {"stem": 0, "stages": 0, "positions": 0, "layers": 0, "norm": 0}
    with torch.device("meta"):
        for name, parameter in TransUNet(3).named_parameters():
            part = name.split(".")[0]
            parts[part] = parts.get(part, 0) + parameter.numel()
    assert parts["stem"] + parts["stages"] == 11_894_848
    assert parts["layers"] + parts["norm"] == 85_056_000
    assert parts["positions"] == 196 * 768
    assert parts["head"] == 435


def test_multiplications(macs) -> None:
    assert macs(lambda: TransUNet(3), lambda net, image: net(image)) == pytest.approx(29.182, abs=5e-4)


def test_kernels_have_mean_0_and_variance_1() -> None:
    conv = StandardConv(3, 4, 3)
    torch.nn.init.normal_(conv.weight, mean=2.0, std=5.0)
    kernels = conv.standardised().flatten(1)
    torch.testing.assert_close(kernels.mean(dim=1), torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(kernels.var(dim=1, correction=0), torch.ones(4), rtol=1e-5, atol=0)
    x = torch.rand(1, 3, 5, 5)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.standardised()))


def test_attention_as_torch_has_it() -> None:
    attention, size = Attention(2 * HEADS), 2 * HEADS
    x = torch.rand(2, 5, size)
    reference = torch.nn.MultiheadAttention(size, HEADS, batch_first=True)
    layers = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([layer.weight for layer in layers]))
        reference.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
        reference.out_proj.load_state_dict(attention.out.state_dict())
        torch.testing.assert_close(attention(x), reference(x, x, x)[0])


def test_another_size_than_it_was_made_for() -> None:
    net = TransUNet(3, image_size_px=64, width=8).eval()
    assert net(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


def test_skips_of_three_sizes() -> None:
    net = TransUNet(1, image_size_px=64, width=8).eval()
    seen = []
    for merge in net.merge:
        merge.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[1:])))
    net(torch.rand(1, 3, 64, 64))
    assert seen == [(128, 8, 8), (64, 16, 16), (24, 32, 32), (8, 64, 64)]


def test_width_must_divide() -> None:
    with pytest.raises(ValueError, match="width: expected a multiple of 4, got 6"):
        TransUNet(1, width=6)
