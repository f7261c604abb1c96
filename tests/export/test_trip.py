import numpy as np
import pytest

from hidemia.export.probes import Probe, spread
from hidemia.export.trip import BUDGETS, Figures, known, losses, require, score, travel
from hidemia.runtime.errors import ExportError

FP32 = Figures(stego_psnr_db=44.0, reply_psnr_db=40.0, task=0.7, sealed=0.95)


def test_a_trip_by_hand():
    cover = np.full((4, 4, 3), 100, np.uint8)
    truth = np.zeros((4, 4), bool)
    truth[0] = True
    runs = {
        "hide": lambda feed: [feed["cover"] + feed["secret"]],  # 1 level off everywhere: 48.13 dB
        "analyze": lambda feed: [feed["stego"] + np.uint8(1)],  # 2 levels off: 42.11 dB
        "recover": lambda feed: [
            np.where(np.arange(16).reshape(1, 4, 4) < 2, 0.9, 0.1) * feed["reply"].any(),
            np.where(np.arange(64).reshape(1, 8, 8) < 48, 0.9, 0.4),  # three quarters of the tiles
        ],
    }  # fmt: skip
    figures, found = travel(runs, [Probe(np.ones_like(cover), cover, truth)], 0.5)
    assert figures.stego_psnr_db == pytest.approx(48.1308, abs=1e-4)
    assert figures.reply_psnr_db == pytest.approx(42.1102, abs=1e-4)
    assert figures.task == pytest.approx(2 * 2 / (2 + 4))
    assert figures.sealed == 0.75
    assert found[0].shape == (4, 4)


def test_a_model_without_a_seal_has_nothing_to_lose():
    image = np.zeros((4, 4, 3), np.uint8)
    runs = {
        "hide": lambda feed: [feed["cover"]],
        "analyze": lambda feed: [feed["stego"]],
        "recover": lambda feed: [np.zeros((1, 4, 4))],
    }
    assert travel(runs, [Probe(image, image, None)], 0.5)[0].sealed == 1.0


def test_scores():
    probabilities = np.array([0.2, 0.7, 0.1])
    assert score(probabilities, 1, None) == 0.7
    assert score(probabilities, 2, None) == 0.1
    assert score(probabilities, None, None) == 1.0
    empty = np.zeros((2, 2))
    assert score(empty, empty > 0, 0.5) == 1.0


def test_where_no_truth_is_known_the_figure_is_agreement():
    image = np.zeros((1, 1, 3), np.uint8)
    probes = known([Probe(image, image, None), Probe(image, image, 2)], [np.array([0.1, 0.9]), np.array([1.0])], None)
    assert [probe.truth for probe in probes] == [1, 2]


def test_losses_are_shares_of_the_budget():
    shares = losses(FP32, Figures(43.5, 41.0, 0.6975, 0.94), BUDGETS["int8"])
    assert shares == pytest.approx({"stego_psnr_db": 0.5, "reply_psnr_db": -1.0, "task": 0.5, "sealed": 0.5})


@pytest.mark.parametrize(
    ("precision", "got", "message"),
    [
        ("int8", Figures(42.9, 40.0, 0.7, 0.95), r"stego against cover .* at most 1 dB .* got 1\.10 \(44\.00 to "),
        ("int8", Figures(44.0, 38.0, 0.7, 0.95), r"reply against cover to lose at most 1 dB .* got 2\.00"),
        ("int8", Figures(44.0, 40.0, 0.694, 0.95), r"task's figure .* at most 0\.5 points .* got 0\.60 .*calibrate"),
        ("int8", Figures(44.0, 40.0, 0.7, 0.92), r"share of sealed tiles to lose at most 2 points .* got 3\.00"),
        ("fp16", Figures(43.8, 40.0, 0.7, 0.95), r"^fp16 in openvino: .* at most 0\.1 dB .* got 0\.20 .*--precision"),
    ],
)  # fmt: skip
def test_a_broken_budget_names_the_figure(precision, got, message):
    with pytest.raises(ExportError, match=message):
        require(precision, "openvino", FP32, got)


def test_a_gain_is_no_breach():
    require("fp16", "openvino", FP32, Figures(50.0, 50.0, 0.9, 1.0))


def test_spread():
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert spread([1, 2], 5) == [1, 2]
