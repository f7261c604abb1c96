"""The rivals of the speed table: networks written as in the papers, and given to ``torch.onnx.export`` as they are.

`PlainHide` is the hider in HiNet's way: Haar by strided slices, bands kept in one tensor, every block whole. In
`branched` each MoDC is six convolutions and their weighted sum (Eq. 3), in `vanilla` one plain convolution of the
same shape; all else in these two is as deployed, so that the rows compare MoDC and nothing else.
"""

from __future__ import annotations

import copy
import io
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidemia.export.deploy import PlainConv, deployed, folded, gate_weights
from hidemia.export.graphs import pixels_in, pixels_out
from hidemia.export.writing import OPSET
from hidemia.training.analyzer import Analyzer, DoubleConv
from hidemia.training.invertible import DenseSubnet, InvertibleBlock, InvertibleHider
from hidemia.training.modc import MoDC
from hidemia.training.recipes import RECIPES

MIXING = RECIPES["busi"].model  # the one among those that are shipped whose analyzer has difference convolutions


class PlainHide(nn.Module):
    """secret, cover -> stego, uint8 (B, H, W, 3), as published code has it.

    Args:
        hider: the trained weights.
        whole: as published, the last block also computes the half that is thrown away; False leaves it out.
    """

    def __init__(self, hider: InvertibleHider, *, whole: bool = True) -> None:
        super().__init__()
        self.hider, self.whole = hider, whole

    def forward(self, secret: Tensor, cover: Tensor) -> Tensor:
        """The stego."""
        bands = torch.cat([sliced_dwt(pixels_in(cover)), sliced_dwt(pixels_in(secret))], dim=1)
        *inner, last = self.hider.blocks()
        for block in inner:
            bands = coupled(block, bands)
        if self.whole:
            return pixels_out(sliced_iwt(coupled(last, bands).narrow(1, 0, 12)))
        return pixels_out(sliced_iwt(bands.narrow(1, 0, 12) + dense(last.f, bands.narrow(1, 12, 12))))


def sliced_dwt(image: Tensor) -> Tensor:
    """Haar transform by slices: (B, 3, H, W) -> (B, 12, H/2, W/2)."""
    even, odd = image[:, :, 0::2] / 2, image[:, :, 1::2] / 2
    a, b, c, d = even[..., 0::2], even[..., 1::2], odd[..., 0::2], odd[..., 1::2]
    return torch.cat([a + b + c + d, -a + b - c + d, -a - b + c + d, a - b - c + d], dim=1)


def sliced_iwt(bands: Tensor) -> Tensor:
    """Its inverse, written in place: (B, 12, h, w) -> (B, 3, 2h, 2w)."""
    ll, hl, lh, hh = (bands[:, 3 * i : 3 * i + 3] / 2 for i in range(4))
    image = bands.new_zeros(bands.shape[0], 3, 2 * bands.shape[2], 2 * bands.shape[3])
    image[:, :, 0::2, 0::2] = ll - hl - lh + hh
    image[:, :, 0::2, 1::2] = ll + hl - lh - hh
    image[:, :, 1::2, 0::2] = ll - hl + lh - hh
    image[:, :, 1::2, 1::2] = ll + hl + lh + hh
    return image


def dense(subnet: DenseSubnet, x: Tensor) -> Tensor:
    """A dense subnet by growing concatenations."""
    features = [x]
    for conv in (subnet.conv1, subnet.conv2, subnet.conv3, subnet.conv4):
        features.append(F.leaky_relu(conv(torch.cat(features, dim=1)), subnet.slope))
    return subnet.conv5(torch.cat(features, dim=1))


def coupled(block: InvertibleBlock, bands: Tensor) -> Tensor:
    """One block on [cover | secret], (B, 24, h, w) -> the same."""
    cover, secret = bands.narrow(1, 0, 12), bands.narrow(1, 12, 12)
    cover = cover + dense(block.f, secret)
    scale = torch.exp(2.0 * 2 * (torch.sigmoid(dense(block.r, cover)) - 0.5))
    return torch.cat([cover, scale * secret + dense(block.y, cover)], dim=1)


class SixBranches(nn.Module):
    """MoDC, batch norm and ReLU as Eq. 3 is printed: six convolutions, weighted and summed; any batch."""

    def __init__(self, conv: MoDC, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        factor, offset = folded(norm)
        self.gate, self.k, self.strength = conv.gate, conv.k, conv.strength
        kernels = torch.einsum("npk,oik->noip", conv.maps, conv.weight.flatten(2)).unflatten(3, (conv.side, conv.side))
        kernels = kernels[[0, *conv.candidates]] * factor[:, None, None, None]
        self.kernels = nn.ParameterList(kernel.clone() for kernel in kernels)
        self.bias = nn.Parameter(offset)

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) -> (B, O, h, w)."""
        g = gate_weights(self.gate, x, self.k)[:, :, None, None, None]
        vanilla, *differences = (F.conv2d(x, kernel, padding=kernel.shape[-1] // 2) for kernel in self.kernels)
        for i, difference in enumerate(differences):
            vanilla = vanilla - self.strength * g[:, i] * difference
        return F.relu(vanilla + self.bias[:, None, None])


def branched(analyzer: Analyzer, image_size_px: int) -> nn.Module:
    """The deployed analyzer with every MoDC as six branches."""
    return _with_convolutions(analyzer, image_size_px, SixBranches)


def vanilla(analyzer: Analyzer, image_size_px: int) -> nn.Module:
    """The deployed analyzer with plain convolutions of equal shape; it computes something else."""
    return _with_convolutions(analyzer, image_size_px, PlainConv)


def _with_convolutions(analyzer: Analyzer, image_size_px: int, kind: type[nn.Module]) -> nn.Module:
    twin = deployed(analyzer, "any", image_size_px)
    source = copy.deepcopy(analyzer).eval()
    for name, unet in source.unets.items():
        for part in ("down", "merge"):
            for i, block in enumerate(getattr(unet, part)):
                assert isinstance(block, DoubleConv)  # noqa: S101 - for the type checker
                pair = nn.Sequential(kind(block.conv1, block.norm1), kind(block.conv2, block.norm2))  # type: ignore[call-arg]
                getattr(twin.unets[name], part)[i] = pair
    return twin


class PlainAnalyze(nn.Module):
    """stego -> reply, uint8 (B, H, W, 3), around one of the analyzers above."""

    def __init__(self, analyzer: nn.Module) -> None:
        super().__init__()
        self.analyzer = analyzer

    def forward(self, stego: Tensor) -> Tensor:
        """The reply."""
        return pixels_out(self.analyzer(pixels_in(stego)))


def plain_export(module: nn.Module, inputs: dict[str, Tensor], output: str) -> bytes:
    """``torch.onnx.export`` with its defaults for a fixed shape, which suit the rival best."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; the other leaves a higher opset
        torch.onnx.export(
            module.eval().requires_grad_(requires_grad=False), tuple(inputs.values()), buffer,
            input_names=list(inputs), output_names=[output], opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return buffer.getvalue()
