"""All systems that the paper compares, trained by the stages that are there, through the whole command."""

import dataclasses
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from hidemia.training.invertible import HiderConfig
from hidemia.training.pairs import PAIRS
from hidemia.training.recipe import Recipe
from hidemia.training.run import run
from hidemia.training.weights import load_weights


def tiny(recipe: Recipe) -> Recipe:
    """Narrow networks, two steps a stage."""
    slim = {"blocks": 2, "growth": 4} if isinstance(recipe.model.hider, HiderConfig) else {"width": 5}
    model = dataclasses.replace(
        recipe.model,
        image_size_px=32,
        hider=replace(recipe.model.hider, **slim),
        analyzer=replace(recipe.model.analyzer, width=4),
    )
    stages = (dataclasses.replace(stage, steps=2, batch=2, size_px=32) for stage in recipe.stages)
    return Recipe(model, tuple(stages))


def named(name: str) -> Recipe:
    return tiny(next(recipe for recipe in PAIRS if recipe.model.name == name))


@pytest.mark.parametrize("name", [recipe.model.name for recipe in PAIRS])
def test_trains_and_keeps_what_it_learned(name: str, scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    recipe = named(name)
    system = run(recipe, scans_folder, None, covers_folder, tmp_path, "cpu")
    loaded, config = load_weights(tmp_path / "weights")
    assert (config.hider, config.analyzer) == (recipe.model.hider, recipe.model.analyzer)
    torch.manual_seed(recipe.seed)
    fresh = recipe.model.build()
    for part in ("hider", "analyzer"):
        learned, start = getattr(system, part).state_dict(), getattr(fresh, part).state_dict()
        assert any(not torch.allclose(learned[name], start[name], atol=1e-4) for name in start)
        assert all(torch.equal(value, learned[name]) for name, value in getattr(loaded, part).state_dict().items())


def test_a_frozen_hider_keeps_its_statistics(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    """Batch norm would otherwise go on learning from the photos of the analyzer's stage."""
    run(named("cmunext-hidden"), scans_folder, None, covers_folder, tmp_path, "cpu")
    hide, answer = (torch.load(path, weights_only=True)["average"] for path in sorted(tmp_path.glob("*.pt")))
    names = [name for name in hide if ".hider." in name]
    assert any("running_mean" in name for name in names)
    for name in names:
        assert torch.equal(hide[name], answer[name]), name


def test_dropout_is_the_same_when_a_run_is_resumed(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    recipe = named("transunet-hinet")
    whole = run(recipe, scans_folder, None, covers_folder, tmp_path / "whole", "cpu")
    again = tmp_path / "again"
    run(Recipe(recipe.model, recipe.stages[:1]), scans_folder, None, covers_folder, again, "cpu")
    torch.rand(1000)  # whatever else drew random numbers in between
    resumed = run(recipe, scans_folder, None, covers_folder, again, "cpu")
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
