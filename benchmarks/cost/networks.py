"""What the networks of the paper cost: counted on the module by fvcore, and apart from it on its exported graph.

A network that is added to `networks` has its rows in every report. Both counts follow the same rule, so that for
convolutions and matrix products they must agree to the unit; only then is a row believed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hidemia.benchmarks.cost import graph
from hidemia.benchmarks.plain import plain_export
from hidemia.training.deepstega import DeepStegaConfig
from hidemia.training.invertible import InvertibleHider
from hidemia.training.pairs import HIDERS, RIVALS
from hidemia.training.recipes import RECIPES
from hidemia.training.resnet import ResNet50
from hidemia.training.roles import AnyAnalyzer, AnyHider
from hidemia.training.unet import UNet

NAMES = {
    "lightih": "LightIH", "hinet": "HiNet", "deepstega": "DeepStega", "hidden": "HiDDeN",
    "hidemia": "HideMIA analyzer, paper's width",
    "unet": "U-Net", "transunet": "TransUNet", "xnet": "XNet", "cmunext": "CMUNeXt",
}  # fmt: skip

COUNTED = ("conv", "matmul", "linear", "addmm", "mm", "bmm", "baddbmm", "einsum")
"""What fvcore calls the operations that the graph's count counts as well; the rest of its count are norms and pools."""

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    """One network of the paper.

    Attributes:
        name: As the paper calls it.
        parameters: Of the module as it is trained.
        parts: What of it is run -> makes the module that does it, and its inputs for one image.
    """

    name: str
    parameters: int
    parts: dict[str, Callable[[], tuple[nn.Module, Inputs]]]


@dataclass(frozen=True)
class Count:
    """What one part of a network costs for one image.

    Attributes:
        network, part: Which.
        parameters: Of the whole network.
        multiply_adds: Of convolutions and matrix products, by fvcore on the module.
        graph_multiply_adds: The same, by `graph.count` on the exported file.
        others: What fvcore counts beside: 2 for an element of a norm, 1 for one of a pool or an interpolation.
        activation_bytes: Of the exported file, see `graph.RULE`.
    """

    network: str
    part: str
    parameters: int
    multiply_adds: int
    graph_multiply_adds: int
    others: int
    activation_bytes: int


class Direction(nn.Module):
    """All blocks of a hider, on bands: what the paper's table counts for LightIH and HiNet."""

    def __init__(self, hider: InvertibleHider) -> None:
        super().__init__()
        self.hider = hider

    def forward(self, cover: Tensor, secret: Tensor) -> tuple[Tensor, Tensor]:
        """Bands (B, 12, h, w) of both -> of the stego, and the latent."""
        return self.hider.hide_bands(cover, secret)


class Hiding(nn.Module):
    """H on images, without what a stego does not need."""

    def __init__(self, hider: AnyHider) -> None:
        super().__init__()
        self.hider = hider

    def forward(self, secret: Tensor, cover: Tensor) -> Tensor:
        """(B, 3, H, W) -> the stego."""
        return self.hider.hide(secret, cover)


class Recovering(nn.Module):
    """R on images, without what a result does not need."""

    def __init__(self, hider: AnyHider) -> None:
        super().__init__()
        self.hider = hider

    def forward(self, photo: Tensor) -> Tensor:
        """(B, 3, H, W) -> what is hidden in it."""
        return self.hider.recover(photo)


def networks(side: int = 224) -> Iterator[Network]:
    """Every network of the paper at this side of images, one at a time: some take more than a gigabyte."""
    for name, hider in HIDERS.items():
        yield of_hider(NAMES[name], hider.build(), side)
    yield of_hider("DeepStega, 24 prepared maps", DeepStegaConfig(prepared=24).build(), side)
    for name, config in (
        ("HideMIA analyzer, width of busi", RECIPES["busi"].model.analyzer),
        (NAMES["hidemia"], RECIPES["paper"].model.analyzer),
        *((NAMES[name], rival) for name, rival in RIVALS.items()),
    ):
        yield of_analyzer(name, config.build(side), side)
    for name, plain in (("U-Net, plain, 1 output", UNet(1)), ("ResNet50, plain, 7 classes", ResNet50(7))):
        yield of_plain(name, plain, side)


def of_hider(name: str, hider: AnyHider, side: int) -> Network:
    """H and R, and one direction of all blocks where there are blocks."""
    image = torch.zeros(1, 3, side, side)
    parts: dict[str, Callable[[], tuple[nn.Module, Inputs]]] = {
        "hide": lambda: (Hiding(hider), {"secret": image, "cover": image.clone()}),
        "recover": lambda: (Recovering(hider), {"photo": image}),
    }
    if isinstance(hider, InvertibleHider):
        bands = torch.zeros(1, 12, side // 2, side // 2)
        whole = {"cover": bands, "secret": bands.clone()}
        parts = {"one direction, whole": lambda: (Direction(hider), whole), **parts}
    return Network(name, _parameters(hider), parts)


def of_analyzer(name: str, analyzer: AnyAnalyzer, side: int) -> Network:
    """M."""
    return _of_image(name, "analyze", analyzer, side)


def of_plain(name: str, network: nn.Module, side: int) -> Network:
    """The task on the bare medical image."""
    return _of_image(name, "the task, nothing hidden", network, side)


def _of_image(name: str, part: str, module: nn.Module, side: int) -> Network:
    # Not zeros: some of the networks scale an image by its range.
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Network(name, _parameters(module), {part: lambda: (module, {"image": image})})


def counts(network: Network) -> list[Count]:
    """A row for each part, and the sum where it both hides and recovers."""
    rows = [_count(network, part, *make()) for part, make in network.parts.items()]
    if {"hide", "recover"} <= set(network.parts):
        hide, recover = (next(row for row in rows if row.part == part) for part in ("hide", "recover"))
        rows.append(
            Count(
                network.name,
                "hide + recover",
                network.parameters,
                hide.multiply_adds + recover.multiply_adds,
                hide.graph_multiply_adds + recover.graph_multiply_adds,
                hide.others + recover.others,
                max(hide.activation_bytes, recover.activation_bytes),
            )
        )
    return rows


def by_fvcore(module: nn.Module, inputs: Inputs) -> tuple[int, int]:
    """Multiply-adds of convolutions and matrix products, and what else fvcore counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is imported and traces in ways that torch has deprecated
        from fvcore.nn import FlopCountAnalysis  # noqa: PLC0415

        analysis = FlopCountAnalysis(module.eval(), tuple(inputs.values()))
        analysis.set_op_handle("aten::einsum", _einsum)
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        found = {name: int(number) for name, number in analysis.by_operator().items()}
    counted = sum(number for name, number in found.items() if name in COUNTED)
    return counted, sum(found.values()) - counted


def _count(network: Network, part: str, module: nn.Module, inputs: Inputs) -> Count:
    counted, others = by_fvcore(module, inputs)
    exported = graph.count(plain_export(module, inputs, "out"))
    return Count(
        network.name, part, network.parameters, counted, exported.multiply_adds, others, exported.activation_bytes
    )


def _einsum(inputs: list[Any], _: list[Any]) -> int:
    """Exactly what fvcore reads from a text that numpy rounds to four digits."""
    from fvcore.nn.jit_handles import get_shape  # noqa: PLC0415  as above

    return graph.einsum(inputs[0].toIValue(), [tuple(get_shape(value)) for value in inputs[1].node().inputs()])


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
