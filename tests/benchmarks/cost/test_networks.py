"""Two counts that know nothing of each other, and the figures that are printed in the paper."""

import pytest
from msgspec.structs import replace
from tests.micro import micro_config, micro_system

from hidemia.benchmarks.cost import graph, networks
from hidemia.export.graphs import Hide, Recover
from hidemia.export.writing import to_onnx
from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.pairs import HIDERS, RIVALS
from hidemia.training.resnet import ResNet50

SLIM = {
    "lightih": replace(HIDERS["lightih"], blocks=1), "deepstega": replace(HIDERS["deepstega"], width=5),
    "hidden": replace(HIDERS["hidden"], width=4), **{name: replace(config, width=4) for name, config in RIVALS.items()},
}  # fmt: skip


@pytest.mark.parametrize(
    "network",
    [
        *(networks.of_hider(name, SLIM[name].build(), 32) for name in ("lightih", "deepstega", "hidden")),
        networks.of_analyzer("shipped", Analyzer(AnalyzerConfig(width=8, levels=3, seal=1)), 32),
        networks.of_analyzer(
            "printed", Analyzer(AnalyzerConfig(width=8, levels=2, diagonals="literal5", scale="sqrt_n")), 32
        ),
        *(networks.of_analyzer(name, SLIM[name].build(32), 32) for name in RIVALS),
        networks.of_plain("resnet", ResNet50(3, width=4), 32),
    ],
    ids=lambda network: network.name,
)
def test_module_and_graph_agree_to_the_unit(network):
    rows = networks.counts(network)
    assert rows
    for row in rows:
        assert row.multiply_adds == row.graph_multiply_adds > 0


@pytest.mark.parametrize(
    ("hider", "parameters", "weights"),
    [(HIDERS["hinet"].build(), 4_050_240, 4_043_520), (HIDERS["lightih"].build(), 1_012_560, 1_010_880)],
)
def test_the_hiders_have_what_the_paper_says(hider, parameters, weights):
    side = 16  # as every convolution keeps the size, 224 has (224 / 16)^2 times as much
    network = networks.of_hider("hider", hider, side)
    module, inputs = network.parts["one direction, whole"]()
    counted, others = networks.by_fvcore(module, inputs)
    assert network.parameters == parameters
    assert (counted, others) == (weights * (side // 2) ** 2, 0)


def test_hide_and_recover_leave_out_what_nobody_needs():
    hide, recover = (
        networks.by_fvcore(module, inputs)[0]
        for module, inputs in (
            networks.of_hider("h", HIDERS["lightih"].build(), 16).parts[part]() for part in ("hide", "recover")
        )
    )
    subnet, pixels = 1_010_880 // 12, 8 * 8
    haar = 12 * 3 * 4 * pixels  # a 2x2 convolution of three colours to twelve bands, or back
    assert hide == 10 * subnet * pixels + 3 * haar
    assert recover == 11 * subnet * pixels + 2 * haar


def test_the_deployed_graph_is_reconciled_with_the_network():
    """The deployed form has 16 channels of bands instead of 12, and stacked subnets in groups: fvcore sees the same."""
    system = micro_system(micro_config())
    for module, names, out in (
        (Hide(system, "direct", 64), ["secret", "cover"], ["stego"]),
        (Recover(system, "direct", 64), ["reply", "sent"], ["probability", "seal"]),
    ):
        import torch

        photos = tuple(torch.zeros(1, 64, 64, 3, dtype=torch.uint8) for _ in names)
        written = graph.count(to_onnx(module.eval(), photos, names, out, False))
        assert written.multiply_adds == networks.by_fvcore(module, dict(zip(names, photos, strict=True)))[0]


@pytest.mark.parametrize(
    ("name", "weights", "norms"), [("hidden", 579_072, 2_176), ("deepstega", None, 0)], ids=["hidden", "deepstega"]
)
def test_rivals_cost_what_their_published_networks_do(name, weights, norms):
    """HiDDeN at 224 has 50176 pixels; Table 7 is three times its convolutions and norms. DeepStega's sizes drift."""
    network = networks.of_hider(name, HIDERS[name].build(), 32)
    counted, others = (
        sum(values) for values in zip(*(networks.by_fvcore(*make()) for make in network.parts.values()), strict=True)
    )
    assert others == norms * 32 * 32
    assert weights is None or counted == weights * 32 * 32
    assert network.parameters == {"hidden": 582_342, "deepstega": 469_673}[name]
