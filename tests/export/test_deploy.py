import pytest
import torch
from tests.micro import micro_config, micro_system
from torch import nn

from hidemia.export.deploy import BranchedConv, MixedConv, PlainConv, by_support, cropped, deployed, folded
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.modc import MoDC, difference_maps


def trained_pair(**options):
    torch.manual_seed(3)
    conv, norm = MoDC(6, 8, **options).double(), nn.BatchNorm2d(8).double()
    if conv.k:
        nn.init.normal_(conv.gate[2].weight, std=3.0)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(norm.weight, -1.5, 1.5)
    nn.init.normal_(norm.bias)
    return conv.eval(), norm.eval()


@pytest.mark.parametrize("diagonals", ["project", "literal5"])
@pytest.mark.parametrize(("k", "candidates"), [(1, (1, 2)), (2, (1, 2, 3, 4, 5)), (2, (2, 5)), (5, (1, 2, 3, 4, 5))])
def test_both_forms_equal_training(diagonals, k, candidates):
    conv, norm = trained_pair(k=k, candidates=candidates, diagonals=diagonals)
    x = torch.randn(3, 6, 9, 11, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.relu(norm(conv(x)))
        branched = BranchedConv(conv, norm)(x)
        mixed = torch.cat([MixedConv(conv, norm)(one) for one in x.split(1)])
    assert expected.std() > 0.1
    torch.testing.assert_close(branched, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_plain_form():
    conv, norm = trained_pair(k=0)
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(PlainConv(conv, norm)(x), torch.relu(norm(conv(x))), rtol=0, atol=1e-12)


def test_folded_by_hand():
    norm = nn.BatchNorm2d(1, eps=0.0)
    norm.running_mean.fill_(3.0)
    norm.running_var.fill_(4.0)
    nn.init.constant_(norm.weight, 6.0)
    nn.init.constant_(norm.bias, 1.0)
    factor, offset = folded(norm)
    assert (factor.item(), offset.item()) == (3.0, -8.0)


def test_supports():
    project = dict(by_support(difference_maps("project")))
    assert project == {(3, 3): [0, 4, 5], (1, 1): [1], (1, 3): [2], (3, 1): [3]}
    literal = dict(by_support(difference_maps("literal5")))
    assert literal == {(3, 3): [0], (1, 1): [1], (1, 3): [2], (3, 1): [3], (5, 5): [4, 5]}


def test_cropped_keeps_every_tap():
    maps = difference_maps("literal5")
    for box, members in by_support(maps):
        for i in members:
            assert cropped(maps[i], box).sum() == maps[i].sum()


@pytest.mark.parametrize("attention", ["none", "inner", "inter_asymmetric", "symmetric", "asymmetric"])
def test_whole_analyzer(attention):
    config = micro_config(analyzer=AnalyzerConfig(width=8, levels=2, attention_levels=1, attention=attention))
    analyzer = micro_system(config).analyzer.double()
    stego = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = analyzer(stego)
        got_any = deployed(analyzer, "any", 64)(stego)
        got_one = torch.cat([deployed(analyzer, "one", 64)(one) for one in stego.split(1)])
    assert (expected - stego).abs().mean() > 1e-3
    torch.testing.assert_close(got_any, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(got_one, expected, rtol=0, atol=1e-9)


def test_the_trained_analyzer_is_left_alone():
    analyzer = micro_system(micro_config()).analyzer
    before = {name: value.clone() for name, value in analyzer.state_dict().items()}
    deployed(analyzer, "any", 64)
    assert all(torch.equal(before[name], value) for name, value in analyzer.state_dict().items())
