import dataclasses
import json
from pathlib import Path

import pytest
import torch
from tests.training.test_command import FOLLOW, MICRO, equal, plain
from torch import nn

from hidemia.training import run as runs
from hidemia.training.data import Batch, Scans
from hidemia.training.errors import TrainingError
from hidemia.training.invertible import HiderConfig
from hidemia.training.objective import StageConfig
from hidemia.training.recipe import Recipe
from hidemia.training.run import Machines, run
from hidemia.training.start import FROM_NOTHING, Start
from hidemia.training.wavelet import dwt, split
from hidemia.training.weights import load_weights


@pytest.mark.parametrize("killed_in", ["read", "answer", "follow"])
def test_killed_in_a_stage_and_resumed(
    killed_in: str, scans_folder: Path, covers_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in one that brings something of its own, which starts at random: what tells the guide's features."""
    recipe, start = MICRO, FROM_NOTHING
    if killed_in == "follow":
        recipe, start = dataclasses.replace(MICRO, stages=(MICRO.stages[0], FOLLOW)), Start(plain=(plain(tmp_path),))

    def go(out: str):
        return run(recipe, scans_folder, None, covers_folder, tmp_path / out, "cpu", start)

    whole = go("whole")
    number = [stage.objective for stage in recipe.stages].index(killed_in)
    real, calls = runs.run_stage, []

    def cut(*arguments, **options):
        calls.append(1)
        if len(calls) == number + 1:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "run_stage", cut)
        with pytest.raises(KeyboardInterrupt):
            go("cut")
    assert len(list((tmp_path / "cut").glob("*.pt"))) == number
    assert equal(go("cut"), whole)


def test_other_seed_other_weights(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    recipes = [dataclasses.replace(MICRO, stages=MICRO.stages[:1], seed=seed) for seed in (0, 0, 1)]
    systems = [
        run(recipe, scans_folder, None, covers_folder, tmp_path / str(i), "cpu") for i, recipe in enumerate(recipes)
    ]
    assert equal(systems[0], systems[1])
    assert not equal(systems[0], systems[2])
    assert not systems[0].training


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_images_stay_as_they_are_in_any_precision(precision: str) -> None:
    """In bfloat16 a value would be off by up to half a level, and Haar's low band by more than one.

    Convolutions are in it all the same.
    """

    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
            return batch.secrets, self.conv(batch.secrets)

    levels = (torch.arange(256) / 255).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    assert (levels.bfloat16() - levels).abs().max() * 255 > 0.45
    assert (split(dwt(levels.bfloat16()))["ll"] - split(dwt(levels))["ll"]).abs().max() * 255 > 1
    seen, found = Machines(precision=precision).fabric("cpu").setup(Seen())(Batch(levels, levels, None, torch.zeros(1)))
    assert torch.equal(seen, levels)
    assert torch.equal(found, found.bfloat16().float()) == (precision == "bf16-mixed")


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_a_device_is_chosen_once_for_all(there: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs and what casts are on the same device."""
    asked: dict[str, object] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(runs, "Fabric", lambda **settings: asked.update(settings))
    Machines().fabric("auto")
    assert (asked["accelerator"], asked["plugins"].device) == (expected, expected)
    Machines().fabric("cpu")
    assert (asked["accelerator"], asked["plugins"].device) == ("cpu", "cpu")


def test_mixed_keeps_images_and_masks_together() -> None:
    def scans(value: int, count: int) -> Scans:
        size = (count, 1, 4, 4)
        masks = torch.full(size, value, dtype=torch.uint8)
        return Scans(masks.expand(-1, 3, -1, -1), masks, torch.full((count,), value), ("a", "b"))

    mixed = runs._mixed(scans(0, 2), scans(1, 3))
    assert mixed.images[:, 0, 0, 0].tolist() == mixed.labels.tolist() == [0, 0, 1, 1, 1]
    assert torch.equal(mixed.masks, mixed.images[:, :1])


def test_a_narrower_hider_learns_from_the_one_it_starts_with(
    scans_folder: Path, covers_folder: Path, tmp_path: Path
) -> None:
    wide = dataclasses.replace(MICRO.model, hider=HiderConfig(blocks=4, growth=4))
    run(dataclasses.replace(MICRO, model=wide), scans_folder, None, covers_folder, tmp_path / "wide", "cpu")
    narrow = dataclasses.replace(wide, name="narrow", hider=HiderConfig(blocks=4, growth=2))
    recipe = Recipe(
        narrow,
        (StageConfig("distill_features", steps=40, batch=2, size_px=16, hider_rate=1e-3),),
        teacher=wide.hider,
        pupil_of="wide",
    )
    begun = Start(tmp_path / "wide" / "weights")
    found = run(recipe, scans_folder, None, covers_folder, tmp_path / "narrow", "cpu", begun)
    teacher, _ = load_weights(tmp_path / "wide" / "weights")
    assert equal(found.analyzer, teacher.analyzer)
    rows = (tmp_path / "narrow" / "1-distill_features.jsonl").read_text().splitlines()
    curve = [json.loads(row)["features"] for row in rows]
    assert curve[-1] < curve[0]
    other = dataclasses.replace(recipe, teacher=HiderConfig(blocks=4, growth=3))
    with pytest.raises(TrainingError, match="expected the hider and analyzer of wide, which narrow learns from, got o"):
        run(other, scans_folder, None, covers_folder, tmp_path / "other", "cpu", begun)
