import dataclasses
import logging
import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from scipy.optimize import minimize
from tests.training.test_command import MICRO

from hidemia.training import offsets
from hidemia.training.channel import transmit
from hidemia.training.data import Scans, read_covers, read_scans_of, scaled
from hidemia.training.objective import StageConfig
from hidemia.training.offsets import USUAL, add_offsets, fitted_offsets, held_out, set_offsets, verdicts
from hidemia.training.plain import matched
from hidemia.training.plain_training import PlainPlan, predictions, train_plain
from hidemia.training.recipe import Recipe
from hidemia.training.run import run
from hidemia.training.system import System
from hidemia.training.thresholds import main
from hidemia.training.wavelet import dwt, split
from hidemia.training.weights import load_weights, save_weights

CLASSES = ("even", "odd")


@pytest.fixture
def recipe() -> Recipe:
    """One stage of a model that gives a verdict."""
    analyzer = msgspec.structs.replace(MICRO.model.analyzer, classes=2)
    model = dataclasses.replace(MICRO.model, task="classification", classes=CLASSES, analyzer=analyzer)
    stage = StageConfig("read", steps=2, batch=2, size_px=32, hider_rate=1e-4, analyzer_rate=1e-3)
    return dataclasses.replace(MICRO, model=model, stages=(stage,))


def told(*labels: int, groups: tuple[str, ...] = ()) -> Scans:
    """Scans of classes "a", "b", ..., of which no image is looked at."""
    images = torch.zeros(len(labels), 3, 8, 8, dtype=torch.uint8)
    return Scans(images, None, torch.tensor(labels), tuple("abc"[: max(labels) + 1]), groups)


@pytest.mark.parametrize("often", [1, 5])
def test_offsets_by_hand(often: int) -> None:
    """Where the slope is nothing: the first class is surer than it should be, its scans are as many as they are.

    With offsets -1/2 and 1/2 the first class has 1/2 in its scan and 3/4 in that of the second: the entropy's slopes
    are 1/2 - 3/4, halved, and that of what is taken for granted is the offset by the square of what is usual.
    """
    usual = USUAL**2 / 4  # the slope of 1/8 is met at an offset of 1/2 where that is 4
    first, second = 1.0, 1.0 + torch.tensor(0.5 + 0.25 / usual).logit().item()
    logits = torch.tensor([[first, 0.0]] * often + [[second, 0.0]])
    labels = torch.tensor([0] * often + [1])
    torch.testing.assert_close(fitted_offsets(logits, labels), torch.tensor([-0.5, 0.5]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_another_minimiser_finds_the_same(scale: float) -> None:
    labels = torch.tensor([0] * 20 + [1] * 5 + [2] * 3)
    logits = scale * (torch.randn(28, 3) + 1.5 * torch.nn.functional.one_hot(labels))
    values, truth = logits.double().numpy(), labels.numpy()

    def objective(offsets: np.ndarray) -> float:
        moved = values + offsets
        own = np.logaddexp.reduce(moved, axis=1) - moved[np.arange(28), truth]
        even = np.mean([own[truth == label].mean() for label in range(3)])
        return float(even + np.square(offsets).sum() / (2 * USUAL**2 * 3))

    wanted = minimize(objective, np.zeros(3), tol=1e-12).x
    np.testing.assert_allclose(fitted_offsets(logits, labels).numpy(), wanted, atol=2e-3)


def test_what_a_verdict_has_too_much_of_a_class_is_taken_off() -> None:
    """With many scans, offsets undo what was added to all logits."""
    labels = torch.arange(3).repeat(2000)
    logits = 2 * torch.randn(6000, 3) + 3 * torch.nn.functional.one_hot(labels)
    added = torch.tensor([0.7, -2.0, 1.3])
    own = fitted_offsets(logits, labels)
    torch.testing.assert_close(fitted_offsets(logits + added, labels), own - added, atol=5e-3, rtol=0)
    assert own.abs().max() < 0.2


def test_one_scan_of_which_a_verdict_is_wrongly_sure_does_not_decide() -> None:
    labels = torch.tensor([0] * 60 + [1] * 39 + [2])
    logits = torch.randn(100, 3) + 4 * torch.nn.functional.one_hot(labels)
    logits[99] = torch.tensor([300.0, 0.0, -300.0])
    assert fitted_offsets(logits, labels).abs().max() < 6  # not the 600 that it lacks


@pytest.mark.parametrize("labels", [[0, 0, 2], [0, 1, 3]])
def test_every_class_has_to_be_there(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels: expected scans of all 3 classes, got"):
        fitted_offsets(torch.zeros(3, 3), torch.tensor(labels))


def test_a_group_has_the_offsets_of_all_others() -> None:
    """But where a class would be missing without it: what the others say of that class is not known."""
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    logits = torch.randn(6, 2)
    found = held_out(logits, labels, np.array(["a", "b", "a", "c", "c", "c"]))
    for own in ([0, 2], [1]):
        others = [i for i in range(6) if i not in own]
        assert torch.equal(found[own], logits[own] + fitted_offsets(logits[others], labels[others]))
    assert torch.equal(found[3:], logits[3:])
    assert not torch.equal(found[[0, 1, 2]], logits[[0, 1, 2]])


def test_they_are_kept_where_they_serve_other_groups() -> None:
    """The second class is always named too seldom, by one and the same amount."""
    scans = told(0, 0, 0, 0, 1, 1, 1, 1)
    logits = torch.tensor([[4.0, 0.0]] * 4 + [[1.0, 0.0]] * 4)
    judge = torch.nn.Linear(3, 2)
    before = judge.bias.detach().clone()
    done = add_offsets(judge, logits, scans)
    added = (judge.bias - before).detach()
    torch.testing.assert_close(added, fitted_offsets(logits, scans.labels))
    assert done == (
        f"offsets: a {added[0]:+.3f}, b {added[1]:+.3f}; balanced accuracy on val 0.500, with those fitted to all "
        "other groups 1.000"
    )
    twice = logits.repeat_interleave(2, dim=0)
    again = torch.nn.Linear(3, 2)
    assert add_offsets(again, twice, scans).endswith("on val 0.500, with those fitted to all other groups 1.000")


def test_they_are_left_out_where_a_group_alone_asks_for_them() -> None:
    """A group of the second class that is wrongly taken for the first; with what it asks for, the others are wrong."""
    scans = told(0, 0, 1, 1, 1, groups=("a", "b", "c", "c", "d"))
    logits = torch.tensor([[0.1, 0.0], [0.1, 0.0], [9.0, 0.0], [9.0, 0.0], [0.0, 0.1]])
    judge = torch.nn.Linear(3, 2)
    before = judge.bias.detach().clone()
    assert fitted_offsets(logits, scans.labels).abs().max() > 0.5
    assert add_offsets(judge, logits, scans).startswith("offsets: none added; balanced accuracy on val 0.667, with")
    assert torch.equal(judge.bias, before)


def test_verdicts_of_every_scan_in_several_photos(recipe: Recipe, shake: Callable[..., System]) -> None:
    """Three photos, each in its turn, whatever the batches."""
    system = shake(recipe.model.build(), std=0.05).eval()
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    scans = Scans(images, None, torch.tensor([0, 1]), CLASSES)
    covers = torch.randint(256, (3, 3, 32, 32), dtype=torch.uint8)
    found = verdicts(system, scans, covers, 32, views=2, batch=3)
    assert found.shape == (4, 2)
    with torch.no_grad():
        for row, (scan, cover) in zip(found, ((0, 0), (0, 1), (1, 2), (1, 0)), strict=True):
            stego = transmit(system.hider.hide(scaled(images[scan][None], 32), scaled(covers[cover][None], 32)))
            wanted = system.analyzer.features(split(dwt(stego))).verdict[0]
            torch.testing.assert_close(row, wanted, atol=0.02, rtol=0)  # a value may round to the next level
    assert (found[0] - found[2]).abs().max() > 0.1


def test_an_analyzer_without_a_verdict_gets_none(tiny_system: Callable[[], System]) -> None:
    system = tiny_system()
    before = {name: value.clone() for name, value in system.state_dict().items()}
    assert set_offsets(system, told(0, 1), torch.zeros(1, 3, 16, 16, dtype=torch.uint8), 16) is None
    assert all(torch.equal(value, before[name]) for name, value in system.state_dict().items())


def test_training_ends_with_what_is_asked_for(
    recipe: Recipe, scans_folder: Path, covers_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored is what was learned, but for what `set_offsets` adds; and a log says what that is."""
    with caplog.at_level(logging.INFO, "hidemia.training"):
        system = run(recipe, scans_folder, None, covers_folder, tmp_path, "cpu")
    learned, model = load_weights(tmp_path / "weights")
    average = torch.load(tmp_path / "1-read.pt", weights_only=True)["average"]
    learned.load_state_dict({name[7:]: value for name, value in average.items() if name.startswith("module.")})
    save_weights(learned, model, tmp_path / "learned", bits=8)
    rounded, _ = load_weights(tmp_path / "learned")
    bias = rounded.analyzer.verdict.linear.bias.detach().clone()
    val, covers = read_scans_of(model, scans_folder, "val"), read_covers(covers_folder, "val", model.image_size_px)
    done = set_offsets(rounded, val, covers, model.image_size_px)
    assert done in caplog.messages
    assert ("none added" in done) == torch.equal(bias, rounded.analyzer.verdict.linear.bias)
    stored, _ = load_weights(tmp_path / "weights")
    for found in (system, stored):
        assert all(torch.equal(value, found.state_dict()[name]) for name, value in rounded.state_dict().items())


def test_set_anew_for_weights_that_are_there(
    recipe: Recipe,
    scans_folder: Path,
    covers_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a command, which says what it added; nothing else of the weights changes, whatever they are stored in."""
    index = scans_folder / "index.csv"
    rows = [f"images/{i}.png,masks/{i}.png,{CLASSES[i % 2]},val,{i}" for i in range(4)]
    index.write_text(index.read_text() + "\n".join(rows) + "\n")
    weights = tmp_path / "weights"
    save_weights(recipe.model.build(), recipe.model, weights, bits=16)
    before = {part: load_file(weights / f"{part}.safetensors") for part in ("hider", "analyzer")}

    def one_sided(system: System, scans: Scans, covers: torch.Tensor, size_px: int, views: int) -> torch.Tensor:
        """Every even scan is told right, and every odd one wrong, by a bias of 5 : 0."""
        judged = torch.stack([1.5 - 3.0 * scans.labels, 0.0 * scans.labels], dim=1) + torch.tensor([5.0, 0.0])
        learned = before["analyzer"]["net.verdict.linear.bias"]
        return (judged + system.analyzer.verdict.linear.bias.detach() - learned).repeat_interleave(views, dim=0)

    monkeypatch.setattr(offsets, "verdicts", one_sided)
    arguments = [str(part) for part in ("--weights", weights, "--data", scans_folder, "--covers", covers_folder)]
    assert main(arguments) == 0
    added, gain = (
        r"even (-\d\.\d{3}), odd (\+\d\.\d{3})",
        r"on val 0\.500, with those fitted to all other groups 1\.000",
    )
    line = re.match(rf"offsets: {added}; balanced accuracy {gain}\n", capsys.readouterr().out)
    assert line is not None
    after = {part: load_file(weights / f"{part}.safetensors") for part in before}
    changed = {
        (part, name)
        for part, tensors in before.items()
        for name, value in tensors.items()
        if not torch.equal(value, after[part][name])
    }
    assert changed == {("analyzer", "net.verdict.linear.bias")}
    assert {part: tensors.keys() for part, tensors in after.items()} == {k: v.keys() for k, v in before.items()}
    added = (after["analyzer"]["net.verdict.linear.bias"] - before["analyzer"]["net.verdict.linear.bias"]).tolist()
    assert added == pytest.approx([float(line[1]), float(line[2])], abs=1e-3)


def test_another_data_sets_classes_are_refused_before_anything_is_written(
    recipe: Recipe, scans_folder: Path, covers_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = scans_folder / "index.csv"
    index.write_text(index.read_text().replace(",even,", ",other,"))
    weights = tmp_path / "weights"
    save_weights(recipe.model.build(), recipe.model, weights, bits=16)
    before = {file.name: file.read_bytes() for file in weights.iterdir()}
    arguments = [str(part) for part in ("--weights", weights, "--data", scans_folder, "--covers", covers_folder)]
    assert main(arguments) == 2
    assert "expected the classes of micro (even, odd), got odd, other; choose" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in weights.iterdir()} == before


@pytest.mark.parametrize("network", ["bands", "vanilla"])
def test_a_plain_network_ends_with_them_too(tmp_path: Path, network: str, caplog: pytest.LogCaptureFixture) -> None:
    """Beside the best weights that it found: what `add_offsets` adds to them."""
    labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 1])
    scans = Scans(torch.randint(256, (8, 3, 64, 64), dtype=torch.uint8), None, labels, CLASSES)
    plain = matched(dataclasses.replace(MICRO.model, task="classification", classes=CLASSES))
    config = dataclasses.replace(plain, network=network)
    plan = PlainPlan(rates=(1e-3,), trial_px=32, batch=4, every=2, patience=1, full_patience=1, falls=0, looks=2)
    with caplog.at_level(logging.INFO, "hidemia.training"):
        found, _ = train_plain(config, MICRO, (scans, scans), tmp_path, Fabric(accelerator="cpu", devices=1), plan)
    best = config.build()
    best.load_state_dict(torch.load(tmp_path / "2-full.pt", weights_only=True)["best_weights"])
    (judge,) = (layer for layer in best.modules() if isinstance(layer, torch.nn.Linear))
    done = add_offsets(judge, predictions(best, scans, config.image_size_px).log(), scans)
    assert done in caplog.messages
    assert all(torch.equal(value, best.state_dict()[name]) for name, value in found.state_dict().items())
