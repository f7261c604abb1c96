import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from lightning_fabric import Fabric
from tests.training.test_command import MICRO

from hidemia.training.data import Scans
from hidemia.training.objective import StageConfig
from hidemia.training.plain import matched, save_plain
from hidemia.training.plain_training import PlainPlan, train_plain
from hidemia.training.prior import shares, take_off_prior
from hidemia.training.run import run
from hidemia.training.start import Start
from hidemia.training.verdict import Verdict
from hidemia.training.weights import load_weights

CLASSES = ("even", "odd")
LABELS = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])  # six, one and one of eight


def test_shares_by_hand() -> None:
    assert shares(LABELS, 0.0).tolist() == [0.75, 0.125, 0.125]
    assert shares(LABELS, 1.0).tolist() == pytest.approx([1 / 3] * 3)
    assert shares(LABELS, 0.5).tolist() == pytest.approx([13 / 24, 11 / 48, 11 / 48])


def test_a_verdict_that_says_how_often_it_was_shown_each_class_says_nothing_then() -> None:
    verdict = Verdict(4, 3)
    torch.nn.init.zeros_(verdict.linear.weight)
    with torch.no_grad():
        verdict.linear.bias.copy_(shares(LABELS, 0.5).log())
    take_off_prior(verdict.linear, LABELS, 0.5)
    logits = verdict({"ll": torch.rand(2, 4, 3, 3)})
    torch.testing.assert_close(logits.softmax(dim=1), torch.full((2, 3), 1 / 3))


def test_it_is_taken_off_what_a_stage_ends_with(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    """Three even scans and an odd one, half of each batch drawn class by class: 5/8 and 3/8."""
    index = scans_folder / "index.csv"
    index.write_text(index.read_text().replace("1.png,odd,", "1.png,even,"))
    analyzer = msgspec.structs.replace(MICRO.model.analyzer, classes=2)
    model = dataclasses.replace(MICRO.model, task="classification", classes=CLASSES, analyzer=analyzer)
    stage = StageConfig("read", steps=2, batch=2, size_px=32, hider_rate=1e-4, analyzer_rate=1e-3)
    biases = {}
    for balanced in (0.0, 0.5):
        recipe = dataclasses.replace(MICRO, model=model, stages=(stage,), balanced=balanced)
        out = tmp_path / str(balanced)
        system = run(recipe, scans_folder, None, covers_folder, out, "cpu")
        learned = torch.load(out / "1-read.pt", weights_only=True)["average"]
        biases[balanced] = system.analyzer.verdict.linear.bias - learned["module.analyzer.verdict.linear.bias"]
    assert biases[0.0].abs().max() == 0
    torch.testing.assert_close(biases[0.5], -torch.tensor([5 / 8, 3 / 8]).log())

    # Where the verdict stays as it is, it stays without its prior.
    done = tmp_path / "0.5" / "weights"
    writing = StageConfig("answer", steps=1, batch=2, size_px=32, analyzer_rate=1e-3, frozen_verdict=True)
    recipe = dataclasses.replace(recipe, stages=(stage, writing))
    system = run(recipe, scans_folder, None, covers_folder, tmp_path / "on", "cpu", Start(done, stage=2))
    assert torch.equal(system.analyzer.verdict.linear.bias, load_weights(done)[0].analyzer.verdict.linear.bias)

    # One that learned last from a guide is as that is, from which it was taken off before.
    config = matched(model)
    save_plain(config.build(), config, tmp_path / "plain")
    follow = StageConfig("follow", steps=1, batch=2, size_px=32, analyzer_rate=1e-3)
    for order, taken_off in (((stage, follow), False), ((follow, stage), True)):
        recipe = dataclasses.replace(recipe, stages=order)
        out = tmp_path / order[1].objective
        system = run(recipe, scans_folder, None, covers_folder, out, "cpu", Start(plain=(tmp_path / "plain",)))
        learned = torch.load(out / f"2-{order[1].objective}.pt", weights_only=True)["average"]
        left = system.analyzer.verdict.linear.bias - learned["module.analyzer.verdict.linear.bias"]
        assert left.any() == taken_off


@pytest.mark.parametrize("balanced", [0.0, 0.5])
def test_a_plain_network_is_without_it_too(tmp_path: Path, balanced: float) -> None:
    """Beside the best weights that it found."""
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 1])
    scans = Scans(torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8), None, labels, CLASSES)
    model = dataclasses.replace(MICRO.model, task="classification", classes=CLASSES)
    recipe = dataclasses.replace(MICRO, model=model, balanced=balanced)
    fabric = Fabric(accelerator="cpu", devices=1)
    plan = PlainPlan(rates=(1e-3,), trial_px=32, batch=4, every=2, patience=1, full_patience=1, falls=0, looks=2)
    network, _ = train_plain(matched(model), recipe, (scans, scans), tmp_path, fabric, plan)
    learned = torch.load(tmp_path / "2-full.pt", weights_only=True)["best_weights"]["head.bias"]
    expected = -shares(labels, balanced).log().float() if balanced else torch.zeros(2)
    torch.testing.assert_close(network.head.bias.detach() - learned, expected)
