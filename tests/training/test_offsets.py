import dataclasses
import re
from pathlib import Path

import msgspec
import pytest
import torch
from lightning_fabric import Fabric
from tests.training.test_command import MICRO

from hidemia.training.data import Scans, read_covers, read_scans
from hidemia.training.objective import StageConfig
from hidemia.training.offsets import even, even_offsets, held_out, verdicts
from hidemia.training.plain import matched
from hidemia.training.plain_training import PlainPlan, predictions, train_plain
from hidemia.training.recipes import Recipe
from hidemia.training.run import run
from hidemia.training.thresholds import main
from hidemia.training.weights import load_weights, save_weights

CLASSES = ("even", "odd")


@pytest.fixture
def recipe() -> Recipe:
    """One stage of a model that gives a verdict."""
    analyzer = msgspec.structs.replace(MICRO.model.analyzer, classes=2)
    model = dataclasses.replace(MICRO.model, task="classification", classes=CLASSES, analyzer=analyzer)
    stage = StageConfig("read", steps=2, batch=2, size_px=32, hider_rate=1e-4, analyzer_rate=1e-3)
    return dataclasses.replace(MICRO, model=model, stages=(stage,))


@pytest.mark.parametrize("often", [1, 5])
def test_offsets_by_hand(often: int) -> None:
    """Logits 3 : 0 for the first class and 1 : 0 for the second: both are half as sure at 1 : -1, however many."""
    logits = torch.tensor([[3.0, 0.0]] * often + [[1.0, 0.0]])
    labels = torch.tensor([0] * often + [1])
    torch.testing.assert_close(even_offsets(logits, labels), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)


def test_what_every_verdict_has_too_much_of_a_class_is_taken_off() -> None:
    """Offsets undo what was added to all logits, and are nothing once they are in."""
    labels = torch.arange(3).repeat(20)
    logits = 2 * torch.randn(60, 3) + 3 * torch.nn.functional.one_hot(labels)
    added = torch.tensor([0.7, -2.0, 1.3])
    own = even_offsets(logits, labels)
    torch.testing.assert_close(even_offsets(logits + added, labels), own - added, atol=1e-3, rtol=0)
    torch.testing.assert_close(even_offsets(logits + own, labels), torch.zeros(3), atol=1e-3, rtol=0)
    judge = torch.nn.Linear(4, 3)
    before = judge.bias.clone()
    even(judge, logits, labels)
    assert torch.equal(judge.bias, before + own)


def test_a_class_seen_in_few_scans_is_named_more_often() -> None:
    """Scans of a rare class that a verdict is right to be in doubt of; balanced accuracy gains, accuracy need not."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    logits = torch.stack([torch.zeros(100), 2.0 * labels - 2 + torch.randn(100)], dim=1)

    def told(values: torch.Tensor) -> list[float]:
        right = values.argmax(dim=1) == labels
        return [right[labels == label].float().mean().item() for label in (0, 1)]

    before, after = told(logits), told(logits + even_offsets(logits, labels))
    assert after[1] > before[1]
    assert sum(after) > sum(before)


def test_a_group_has_the_offsets_of_all_others() -> None:
    """But where a class would be missing without it: there, what the others say of that class is not known."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    logits = torch.randn(6, 2)
    groups = ["a", "b", "a", "c", "c", "c"]
    found = held_out(logits, labels, groups)
    for own in ([0, 2], [1]):
        others = [i for i in range(6) if i not in own]
        assert torch.equal(found[own], logits[own] + even_offsets(logits[others], labels[others]))
    assert torch.equal(found[3:], logits[3:])
    assert not torch.equal(found[[0, 1, 2]], logits[[0, 1, 2]])


def test_training_ends_with_them(recipe: Recipe, scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    """What it stores gives verdicts on val that nothing has to be added to, and differs in nothing else."""
    system = run(recipe, scans_folder, None, covers_folder, tmp_path, "cpu")
    stored, model = load_weights(tmp_path / "weights")
    val = read_scans(scans_folder, "val", segmentation=False)
    covers = read_covers(covers_folder, "val", model.image_size_px)
    logits = verdicts(stored, val, covers, model.image_size_px)
    torch.testing.assert_close(even_offsets(logits, val.labels), torch.zeros(2), atol=1e-3, rtol=0)
    learned, _ = load_weights(tmp_path / "weights")
    average = torch.load(tmp_path / "1-read.pt", weights_only=True)["average"]
    learned.load_state_dict({name[7:]: value for name, value in average.items() if name.startswith("module.")})
    save_weights(learned, model, tmp_path / "learned", bits=8)
    rounded, _ = load_weights(tmp_path / "learned")
    state = rounded.state_dict()
    names = {name for name, value in system.state_dict().items() if not torch.equal(value, state[name])}
    assert names == {"analyzer.verdict.linear.bias"}
    assert all(torch.equal(value, stored.state_dict()[name]) for name, value in system.state_dict().items())


def test_set_anew_for_weights_that_are_there(
    recipe: Recipe, scans_folder: Path, covers_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a command, which says what it added, and how many are told right; it changes nothing the second time."""
    run(recipe, scans_folder, None, covers_folder, tmp_path, "cpu")
    weights = tmp_path / "weights"
    system, model = load_weights(weights)
    biased = system.analyzer.verdict.linear.bias.detach().clone()
    with torch.no_grad():
        system.analyzer.verdict.linear.bias += torch.tensor([2.0, -2.0])
    save_weights(system, model, weights, bits=8)
    arguments = [str(part) for part in ("--weights", weights, "--data", scans_folder, "--covers", covers_folder)]
    for said in ("added to the logits: even -2.000, odd +2.000\n", "added to the logits: even "):
        hider = (weights / "hider.safetensors").read_bytes()
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert said in out
        assert re.search(
            r"^balanced accuracy: [01]\.\d\d\d without, [01]\.\d\d\d with those of all other groups$", out, re.MULTILINE
        )
        found = load_weights(weights)[0].analyzer.verdict.linear.bias
        torch.testing.assert_close(found.detach(), biased, atol=1e-3, rtol=0)
        assert (weights / "hider.safetensors").read_bytes() == hider


@pytest.mark.parametrize("network", ["bands", "vanilla"])
def test_a_plain_network_ends_with_them_too(tmp_path: Path, network: str) -> None:
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 1])
    scans = Scans(torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8), None, labels, CLASSES)
    config = dataclasses.replace(
        matched(dataclasses.replace(MICRO.model, task="classification", classes=CLASSES)), network=network
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    plan = PlainPlan(rates=(1e-3,), trial_px=32, batch=4, every=2, patience=1, full_patience=1, falls=0, looks=2)
    found, _ = train_plain(config, MICRO, (scans, scans), tmp_path, fabric, plan)
    logits = predictions(found, scans, config.image_size_px).log()
    torch.testing.assert_close(even_offsets(logits, labels), torch.zeros(2), atol=1e-3, rtol=0)
