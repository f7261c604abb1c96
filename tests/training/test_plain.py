import dataclasses
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from hidemia.training import command, plain_training
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.command import train
from hidemia.training.data import Scans, generator
from hidemia.training.errors import TrainingError
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.plain import PlainConfig, PlainNetwork, load_plain, matched, noisy, save_plain, vanilla
from hidemia.training.plain_training import (
    PlainPlan,
    PlainRun,
    figure_of,
    predictions,
    train_plain,
    until_plateau,
    with_threshold,
)
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import RECIPES

TINY = PlainPlan(rates=(1e-3, 1e-2), trial_px=32, batch=2, every=2, patience=1, falls=0, looks=3)
RECIPE = Recipe(
    ModelConfig(
        "tiny",
        image_size_px=64,
        hider=HiderConfig(blocks=2, growth=2),
        analyzer=AnalyzerConfig(width=8, levels=1, attention_levels=1),
    ),
    (StageConfig("hide", steps=1, batch=2, size_px=16, hider_rate=1e-3),),
)


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1, precision="32-true")


@pytest.fixture
def scans() -> Scans:
    """Bright squares, to be outlined; or to be told apart by their side."""
    images = torch.full((8, 3, 64, 64), 30, dtype=torch.uint8)
    masks = torch.zeros(8, 1, 64, 64, dtype=torch.uint8)
    for i in range(8):
        left = 8 if i % 2 else 40
        images[i, :, 20:40, left : left + 16] = 220
        masks[i, :, 20:40, left : left + 16] = 255
    return Scans(images, masks, torch.arange(8) % 2, ("left", "right"))


@pytest.mark.parametrize("name", ["busi", "chestct", "kvasir", "paper", "skin"])
def test_as_many_parameters_as_the_analyzer(name: str) -> None:
    model = RECIPES[name].model
    with torch.device("meta"):
        wanted = sum(parameter.numel() for parameter in model.build().analyzer.parameters())
        count = sum(parameter.numel() for parameter in matched(model).build().parameters())
    assert count == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(("name", "expected"), [("kvasir", 31_037_633), ("skin", 23_508_032 + 7 * 2049)])
def test_the_papers_plain_networks(name: str, expected: int) -> None:
    with torch.device("meta"):
        network = vanilla(RECIPES[name].model).build()
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


@pytest.mark.parametrize("classes", [None, 3])
def test_shapes(classes: int | None) -> None:
    network = PlainNetwork(width=4, levels=3, classes=classes).eval()
    image = torch.rand(2, 3, 32, 48)
    assert network(image).shape == ((2, 1, 32, 48) if classes is None else (2, 3))
    found = network.probabilities(image)
    assert found.shape == ((2, 32, 48) if classes is None else (2, 3))
    if classes:
        torch.testing.assert_close(found.sum(dim=1), torch.ones(2))


def test_a_mask_is_where_the_image_is() -> None:
    """Moving the image by two pixels moves the mask by two: the half-size maps are put together in their order."""
    torch.manual_seed(0)
    network = PlainNetwork(width=4, levels=1, classes=None).eval()
    image = torch.rand(1, 3, 32, 32)
    moved = network(image.roll((2, 2), (2, 3)))
    torch.testing.assert_close(moved[..., 8:-8, 8:-8], network(image).roll((2, 2), (2, 3))[..., 8:-8, 8:-8])


def test_learns(scans: Scans) -> None:
    torch.manual_seed(0)
    run = PlainRun(PlainNetwork(8, 2, None), 1e-2, fabric())
    before = figure_of(run.raw, scans, 32)
    for _ in range(30):
        run.learn(scans.images[:, :, ::2, ::2].float() / 255, scans.masks[:, :, ::2, ::2].float() / 255)
    assert figure_of(run.average.module, scans, 32) > max(0.8, before)


def test_the_average_is_judged_and_kept() -> None:
    """Of weights 0, 1, 2, 3 the average forgets its start: (1 + n) / (10 + n) of it stay at the n-th step.

    The same of what batch norm has seen, which is none of the parameters.
    """
    run = PlainRun(PlainNetwork(4, 1, 2), 0.0, fabric())
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    seen = "down.0.1.running_mean"
    expected, mean = 0.0, torch.zeros(())
    for step in range(4):
        with torch.no_grad():
            run.raw.head.bias.fill_(step)
        run.learn(images, labels)
        kept = (1 + step) / (10 + step) if step else 0.0  # the first step starts it
        expected = kept * expected + (1 - kept) * step
        mean = kept * mean + (1 - kept) * run.raw.state_dict()[seen]
    run.judge(0.5, patience=2)
    torch.testing.assert_close(run.best_weights["head.bias"], torch.full((2,), expected))
    torch.testing.assert_close(run.best_weights[seen], mean)


def test_what_is_judged_is_what_is_kept(scans: Scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure of every look is that of the average, not of the last step's weights."""
    judged: list[nn.Module] = []
    monkeypatch.setattr(plain_training, "figure_of", lambda network, *rest: judged.append(network) or 0.0)
    run = PlainRun(matched(RECIPE.model).build(), 1e-3, fabric())
    until_plateau(run, scans, scans, 32, TINY, RECIPE, tmp_path / "run.pt")
    assert judged
    assert all(network is run.average.module for network in judged)


def test_plateau_by_hand() -> None:
    run = PlainRun(PlainNetwork(4, 1, 2), 1.0, fabric())
    run.judge(0.5, patience=2)
    with torch.no_grad():
        for network in (run.raw, run.average.module):
            network.head.bias.fill_(7)
    run.judge(0.50001, patience=2)  # no gain worth the name
    assert (run.best, run.stale, run.rate) == (0.5, 1, 1.0)
    run.judge(0.4, patience=2)
    assert (run.falls, run.stale, run.rate) == (1, 0, 0.2)
    assert run.raw.head.bias.max() < 7  # back to the best weights
    run.learn(torch.rand(2, 3, 16, 16), torch.tensor([0, 1]))
    assert torch.equal(run.average.module.head.bias, run.raw.head.bias)  # begun anew, without what was given up
    run.judge(0.6, patience=2)
    assert (run.best, run.falls) == (0.6, 1)


def narrow_vanilla(model: ModelConfig) -> PlainConfig:
    return vanilla(model, width=2)


@pytest.mark.parametrize("choose", [matched, narrow_vanilla])
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_the_best_rate_goes_on(
    choose, task: str, scans: Scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dataclasses.replace(RECIPE.model, task=task, classes=("left", "right"))
    if task == "classification":
        scans = Scans(scans.images, None, scans.labels, scans.classes)
    rates: list[tuple[float, int]] = []
    patience: list[int] = []
    real = plain_training.until_plateau

    def watched(run: PlainRun, train: Scans, val: Scans, size_px: int, plan: PlainPlan, *rest):
        rates.append((run.rate, size_px))
        patience.append(plan.patience)
        return real(run, train, val, size_px, plan, *rest)

    monkeypatch.setattr(plain_training, "until_plateau", watched)
    recipe = dataclasses.replace(RECIPE, model=model)
    network, config = train_plain(choose(model), recipe, (scans, scans), tmp_path, fabric(), TINY)
    assert rates[:2] == [(1e-3, 32), (1e-2, 32)]
    assert rates[2] == (config.rate / 3, 64)
    assert patience == [TINY.patience, TINY.patience, TINY.full_patience]
    assert config.rate in TINY.rates
    again, same = load_plain(tmp_path / "weights")
    assert same == config
    states = again.state_dict(), network.state_dict()
    assert all(torch.equal(x, y) for x, y in zip(states[0].values(), states[1].values(), strict=True))


@pytest.mark.parametrize(("killed_at", "falls"), [(3, 0), (7, 1), (15, 1)])
def test_killed_and_resumed_is_undisturbed(
    killed_at: int, falls: int, scans: Scans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a trial before and after its rate fell, and after that at full size."""
    plan = dataclasses.replace(TINY, rates=(1e-3,), patience=2, falls=1, full_patience=2, looks=6)
    monkeypatch.setattr(plain_training, "GAIN", 2.0)  # no look has one
    drawn = (matched(RECIPE.model), RECIPE, (scans, scans))
    whole, _ = train_plain(*drawn, tmp_path / "whole", fabric(), plan)
    real, calls = PlainRun.learn, []

    def cut(run: PlainRun, *batch: torch.Tensor) -> None:
        calls.append(1)
        if len(calls) == killed_at:
            assert run.falls == falls
            raise KeyboardInterrupt
        real(run, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(PlainRun, "learn", cut)
        with pytest.raises(KeyboardInterrupt):
            train_plain(*drawn, tmp_path / "cut", fabric(), plan)
    resumed, _ = train_plain(*drawn, tmp_path / "cut", fabric(), plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    ends = (torch.load(tmp_path / out / "2-full.pt", weights_only=True) for out in ("whole", "cut"))
    averages = [end["average"] for end in ends]
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())


def test_threshold_is_the_best_of_val(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> None:
    certain = torch.where(scans.masks[:, 0] > 0, 0.71, 0.64)
    monkeypatch.setattr(plain_training, "predictions", lambda *arguments: certain)
    config = PlainConfig("m", "segmentation", ("a", "b"), 64, 4, 1)
    assert 0.64 < with_threshold(PlainNetwork(4, 1, None), config, scans).mask_threshold <= 0.71


def test_noise_by_hand() -> None:
    grey = torch.full((1, 3, 64, 64), 0.5)
    assert noisy(grey, 0.0, generator(0, 0)) is grey
    change = (noisy(grey, 4.0, generator(0, 0)) - grey) * 255
    assert change.std().item() == pytest.approx(4.0, rel=0.03)
    assert abs(change.mean().item()) < 0.1
    torch.testing.assert_close(change, (noisy(grey, 2.0, generator(0, 0)) - grey) * 510, atol=1e-3, rtol=0)
    black = noisy(torch.zeros(1, 3, 64, 64), 4.0, generator(0, 0))
    assert black.min() == 0
    assert (black > 0).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_network_that_sees_noise(scans: Scans, tmp_path: Path) -> None:
    """It learns something else, and what it is judged by has the same noise every time."""
    loud = dataclasses.replace(matched(RECIPE.model), noise=40.0)
    network, config = train_plain(loud, RECIPE, (scans, scans), tmp_path / "loud", fabric(), TINY)
    again, same = load_plain(tmp_path / "loud" / "weights")
    assert again.noise == same.noise == config.noise == 40.0
    quiet, _ = train_plain(matched(RECIPE.model), RECIPE, (scans, scans), tmp_path / "quiet", fabric(), TINY)
    assert any(not torch.equal(value, quiet.state_dict()[name]) for name, value in network.state_dict().items())
    found = predictions(network, scans, 64)
    assert torch.equal(predictions(network, scans, 64), found)
    network.noise = 0.0
    assert not torch.equal(predictions(network, scans, 64), found)


@pytest.mark.parametrize(
    ("model", "option", "value", "message"),
    [
        ("tiny", "--noise", "2", "expected none, as it is for plain networks alone, got 2"),
        ("plain-tiny", "--noise", "-1", "expected 0 to 254, got -1"),
        ("plain-tiny", "--noise", "255", "expected 0 to 254, got 255"),
        ("tiny", "--rate", "1e-3", "expected none, as it is for plain networks alone, got 0.001"),
        ("plain-tiny", "--rate", "0", "expected more than 0 and less than 1, got 0"),
        ("plain-tiny", "--rate", "nan", "expected more than 0 and less than 1, got nan"),
        ("tiny", "--rate", "0", "expected none, as it is for plain networks alone, got 0"),
        ("tiny", "--seed", "-1", "expected 0 to 2147483647, got -1"),
        ("plain-tiny", "--seed", "2147483648", "expected 0 to 2147483647, got 2147483648"),
        ("plain-tiny", "--first-stage", "2", "expected none, as it is for recipes alone; leave it out"),
        ("plain-tiny", "--plain", "weights", "expected none, as it is for recipes alone; leave it out"),
        ("plain-tiny", "--devices", "0", "expected none, as it is for recipes alone; leave it out"),
    ],
)
def test_what_is_refused(
    model: str, option: str, value: str, message: str, scans_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setitem(RECIPES, "tiny", RECIPE)
    with pytest.raises(SystemExit) as stopped:
        train([model, "--data", str(scans_folder), "--out", str(tmp_path / "out"), option, value])
    assert stopped.value.code == 2
    assert f"{option}: {message}" in capsys.readouterr().err


def test_a_seed_and_a_rate_of_ones_own(scans_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other rate is tried, and the same seed gives the same network."""
    monkeypatch.setitem(RECIPES, "tiny", RECIPE)
    monkeypatch.setattr(command, "PLAN", TINY)
    call = ["plain-tiny", "--data", str(scans_folder), "--device", "cpu", "--rate", "2e-3"]

    def trained(name: str, *options: str) -> torch.Tensor:
        assert train([*call, "--out", str(tmp_path / name), *options]) == 0
        network, config = load_plain(tmp_path / name / "weights")
        assert config.rate == 2e-3
        return network.head.weight

    default, zero = trained("default"), trained("zero", "--seed", "0")
    one, again = trained("one", "--seed", "1"), trained("again", "--seed", "1")
    assert sorted(path.name for path in (tmp_path / "one").glob("*.pt")) == ["1-rate-0.002.pt", "2-full.pt"]
    assert torch.equal(default, zero)
    assert torch.equal(one, again)
    assert not torch.equal(zero, one)


def test_by_command(scans_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "tiny", RECIPE)
    monkeypatch.setattr(command, "PLAN", TINY)
    call = ["plain-tiny", "--data", str(scans_folder), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert train([*call, "--noise", "2"]) == 0
    config = load_plain(tmp_path / "out" / "weights")[1]
    assert (config.name, config.noise) == ("tiny", 2.0)
    with pytest.raises(TrainingError, match="found checkpoints; add --resume"):
        train(call)
    assert train([*call, "--noise", "2", "--resume"]) == 0
    with pytest.raises(TrainingError, match=r"rate-0.001.pt: expected noise 2, as the run began, got 0; give the same"):
        train([*call, "--resume"])


def test_damaged_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"found no config\.json; run `hidemia train plain-MODEL` first"):
        load_plain(tmp_path)
    config = PlainConfig("m", "segmentation", ("a", "b"), 32, 4, 1)
    save_plain(config.build(), dataclasses.replace(config, width=8), tmp_path)
    with pytest.raises(TrainingError, match=r"expected a plain network, got .*size mismatch") as caught:
        load_plain(tmp_path)
    assert "\n" not in str(caught.value)
