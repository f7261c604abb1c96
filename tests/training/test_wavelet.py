import numpy as np
import pytest
import torch

from hidemia.training.wavelet import BANDS, HIGH_BANDS, dwt, haar_kernel, iwt, join, split


def test_one_block_by_hand() -> None:
    # a b      1 2
    # c d  =  10 4
    block = torch.tensor([[1.0, 2.0], [10.0, 4.0]]).expand(1, 3, 2, 2)
    expected = {
        "ll": (1 + 2 + 10 + 4) / 2,
        "hl": (-1 + 2 - 10 + 4) / 2,
        "lh": (-1 - 2 + 10 + 4) / 2,
        "hh": (1 - 2 - 10 + 4) / 2,
    }
    bands = split(dwt(block))
    assert {name: band.flatten().tolist() for name, band in bands.items()} == {n: [v] * 3 for n, v in expected.items()}


def test_names() -> None:
    assert BANDS == ("ll", "hl", "lh", "hh")
    assert HIGH_BANDS == ("hl", "lh", "hh")
    columns = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(1, 3, 2, 2)
    assert [band[0, 0].item() for band in split(dwt(columns)).values()] == [1, 1, 0, 0]  # hl sees columns differ
    rows = columns.transpose(2, 3)
    assert [band[0, 0].item() for band in split(dwt(rows)).values()] == [1, 0, 1, 0]  # lh sees rows differ


def test_agrees_with_strided_numpy() -> None:
    image = torch.rand(2, 3, 12, 20)
    x = image.numpy()
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    # The four bands of a separable Haar transform, low pass (p + q) / sqrt 2 and high pass (q - p) / sqrt 2.
    root = np.sqrt(2)
    low_top, low_bottom = (a + b) / root, (c + d) / root
    high_top, high_bottom = (b - a) / root, (d - c) / root
    expected = np.concatenate(
        [
            (low_top + low_bottom) / root,
            (high_top + high_bottom) / root,
            (low_bottom - low_top) / root,
            (high_bottom - high_top) / root,
        ],
        axis=1,
    )
    np.testing.assert_allclose(dwt(image).numpy(), expected, atol=1e-6)


def test_layout_is_band_by_band() -> None:
    image = torch.rand(1, 3, 4, 4)
    bands = dwt(image)
    assert bands.shape == (1, 12, 2, 2)
    for colour in range(3):
        alone = torch.zeros_like(image)
        alone[:, colour] = image[:, colour]
        expected = torch.zeros_like(bands)
        expected[:, colour::3] = bands[:, colour::3]  # channel = 3 * band + colour
        assert torch.equal(dwt(alone), expected)


def test_perfect_reconstruction() -> None:
    image = torch.rand(2, 3, 64, 48)
    assert (iwt(dwt(image)) - image).abs().max() < 1e-6
    bands = torch.randn(2, 12, 16, 8)
    assert (dwt(iwt(bands)) - bands).abs().max() < 2e-6


def test_parseval() -> None:
    a, b = torch.rand(2, 1, 3, 32, 32, dtype=torch.float64)
    in_pixels, in_bands = (a - b).square().mean(), (dwt(a) - dwt(b)).square().mean()
    assert in_pixels.item() == pytest.approx(in_bands.item(), rel=1e-12)


def test_ranges() -> None:
    white, image = torch.ones(1, 3, 8, 8), torch.randint(2, (4, 3, 64, 64)).float()
    assert split(dwt(white))["ll"].unique().tolist() == [2]
    bands = split(dwt(image))
    assert bands["ll"].aminmax() == (0, 2)
    for name in HIGH_BANDS:
        assert bands[name].aminmax() == (-1, 1)


def test_split_and_join_go_by_name() -> None:
    bands = dwt(torch.rand(1, 3, 8, 8))
    parts = split(bands)
    assert torch.equal(join(parts), bands)
    backwards = {name: parts[name] for name in reversed(BANDS)}
    assert list(backwards) != list(BANDS)
    assert torch.equal(join(backwards), bands)


@pytest.mark.parametrize("colours", [1, 3])
def test_one_kernel_does_both(colours: int) -> None:
    kernel = haar_kernel(colours)
    assert kernel.shape == (4 * colours, colours, 2, 2)
    matrix = kernel.flatten(1)
    assert torch.equal(matrix @ matrix.T, torch.eye(4 * colours))


def test_autocast_leaves_it_alone() -> None:
    image = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        bands = dwt(image)
        back = iwt(bands)
    assert bands.dtype == back.dtype == torch.float32
    assert torch.equal(bands, dwt(image))
    assert torch.equal(back, iwt(bands))


def test_takes_a_view() -> None:
    image = torch.rand(1, 16, 16, 3).permute(0, 3, 1, 2)
    assert not image.is_contiguous()
    assert torch.equal(dwt(image), dwt(image.contiguous()))


def test_gradients() -> None:
    image = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(dwt, image)
    assert torch.autograd.gradcheck(iwt, torch.rand(1, 12, 2, 2, dtype=torch.float64, requires_grad=True))
