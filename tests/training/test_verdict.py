import pytest
import torch
from torch import nn

from hidemia.training.analyzer import Analyzer, AnalyzerConfig
from hidemia.training.heads import GridMean
from hidemia.training.verdict import LARGEST, Verdict, in_tiles
from hidemia.training.wavelet import BANDS, dwt, split


def test_judges_by_the_means_of_the_features():
    verdict = Verdict(4, 2)
    with torch.no_grad():
        verdict.linear.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 2.0]]))
        verdict.linear.bias.copy_(torch.tensor([0.5, 0.0]))
    features = {"ll": torch.zeros(1, 2, 4, 4), "hh": torch.zeros(1, 2, 4, 4)}
    features["ll"][0, 0, 0, 0] = 16.0  # a mean of 1
    features["hh"][0, 1] = 3.0
    torch.testing.assert_close(verdict(features), torch.tensor([[1.5, 6.0]]))


@pytest.mark.parametrize("side", [48, 64, 112])
@pytest.mark.parametrize("classes", [1, 2, 7, 9])
def test_the_head_s_tiles_find_each_class_where_it_was_spread(side, classes):
    logits = torch.randn(3, classes)
    grid = in_tiles(logits, side, side)
    assert grid.shape == (3, 1, side, side)
    found = GridMean(3)(grid).flatten(1)[:, :classes]
    level = logits - logits.mean(dim=1, keepdim=True)
    # Windows share a row or column with their neighbours where three does not divide the side.
    torch.testing.assert_close(found, LARGEST * torch.tanh(level / LARGEST), atol=0.5, rtol=0)
    assert torch.equal(found.argmax(dim=1), logits.argmax(dim=1))


def test_agreeing_classes_and_empty_tiles_write_nothing():
    assert in_tiles(torch.full((1, 4), 3.0), 12, 12).abs().max() == 0
    assert in_tiles(torch.tensor([[9.0, -9.0]]), 12, 12)[:, :, 4:].abs().max() == 0


def test_is_bent():
    extreme = in_tiles(torch.tensor([[1000.0, -1000.0, 0.0]]), 12, 12)
    assert extreme.abs().max() == LARGEST


def judging(classes: int = 4) -> Analyzer:
    return Analyzer(AnalyzerConfig(k=0, width=8, levels=2, attention_levels=1, classes=classes)).eval()


@torch.no_grad()
def test_a_fresh_analyzer_writes_nothing_and_a_trained_one_its_verdict():
    analyzer, stego = judging(), torch.rand(2, 3, 48, 48)
    assert (analyzer(stego) - stego).abs().max() < 1e-6
    nn.init.constant_(analyzer.heads["ll"].bias, 1.0)
    bands = split(dwt(stego))
    judged = analyzer.features(bands).verdict
    change = split(dwt(analyzer(stego) - stego))
    expected = 0.1 * in_tiles(judged, 24, 24).expand(-1, 3, -1, -1)
    torch.testing.assert_close(change["ll"], expected, atol=1e-6, rtol=0)
    assert all(change[name].abs().max() < 1e-6 for name in BANDS if name != "ll")


def test_what_is_written_teaches_the_verdict():
    analyzer = judging()
    nn.init.constant_(analyzer.heads["ll"].bias, 1.0)
    reply = analyzer(torch.rand(1, 3, 48, 48))
    reply[:, :, :16, :16].mean().backward()
    assert analyzer.verdict.linear.weight.grad.abs().sum() > 0


def test_without_classes_nothing_is_judged():
    analyzer = Analyzer(AnalyzerConfig(width=8, levels=2, attention_levels=1))
    assert analyzer.features(split(dwt(torch.rand(1, 3, 32, 32)))).verdict is None
