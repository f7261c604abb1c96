import collections
import dataclasses
import json
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from hidemia.training import data
from hidemia.training import run as runs
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.command import train
from hidemia.training.errors import DatasetError, TrainingError
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.plain import matched, save_plain
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import RECIPES
from hidemia.training.system import System
from hidemia.training.weights import load_weights

MICRO = Recipe(
    ModelConfig(
        "micro",
        image_size_px=32,
        hider=HiderConfig(blocks=2, growth=4),
        analyzer=AnalyzerConfig(width=8, levels=1, attention_levels=1),
    ),
    (
        StageConfig("hide", steps=3, batch=2, size_px=16, hider_rate=1e-3),
        StageConfig("read", steps=2, batch=2, size_px=16, hider_rate=1e-4, analyzer_rate=1e-3),
        StageConfig("joint", steps=3, batch=2, size_px=32, hider_rate=1e-4, analyzer_rate=1e-3),
        StageConfig("answer", steps=2, batch=2, size_px=32, analyzer_rate=1e-3),
    ),
)
STAGES = ["1-hide", "2-read", "3-joint", "4-answer"]
FOLLOW = StageConfig("follow", steps=2, batch=2, size_px=16, analyzer_rate=1e-3)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The recipe by its name; logging as it was, whatever the command sets up."""
    monkeypatch.setitem(RECIPES, "micro", MICRO)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def arguments(scans_folder: Path, covers_folder: Path, tmp_path: Path) -> list[str]:
    folders = {"--data": scans_folder, "--covers": covers_folder, "--out": tmp_path / "out"}
    return ["micro", "--device", "cpu", *(str(word) for pair in folders.items() for word in pair)]


def plain(folder: Path) -> Path:
    """Weights of a plain network of the recipe, as it begins."""
    torch.manual_seed(5)
    config = matched(MICRO.model)
    save_plain(config.build(), config, folder / "plain" / "weights")
    return folder / "plain" / "weights"


def equal(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(states[0].values(), states[1].values(), strict=True))


def test_from_images_to_weights(arguments: list[str], tmp_path: Path) -> None:
    assert train(arguments) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{stage}.{kind}" for stage in STAGES for kind in ("pt", "jsonl")] + ["weights"]
    )
    system, config = load_weights(out / "weights")
    measured = ("mask_threshold", "reply_min_psnr_db", "reply_min_changed_share", "reply_max_low_change")
    fresh_config = dataclasses.replace(config, **{name: getattr(MICRO.model, name) for name in measured})
    assert fresh_config == MICRO.model
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        trip = system(secret, cover)
    assert trip.logits.isfinite().all()
    torch.manual_seed(MICRO.seed)
    fresh = MICRO.model.build()
    for part in ("hider", "analyzer"):
        assert not equal(getattr(system, part), getattr(fresh, part))  # both have learned
    last = torch.load(out / "4-answer.pt", weights_only=True)["average"]
    stored = {name.removeprefix("module."): value for name, value in last.items() if name != "n_averaged"}
    for name, value in system.state_dict().items():
        if value.ndim == 4:  # a kernel is stored in 8 bits
            step = stored[name].abs().amax(dim=(1, 2, 3), keepdim=True) / 127
            assert ((value - stored[name]).abs() <= 0.51 * step + stored[name].abs() * 2**-10).all(), name
        else:
            assert torch.equal(value, stored[name].half().float() if value.ndim > 1 else stored[name]), name


def test_stages_build_on_each_other(arguments: list[str], tmp_path: Path) -> None:
    train(arguments)
    averages = [torch.load(tmp_path / "out" / f"{s}.pt", weights_only=True)["average"] for s in STAGES]
    hider = [{k: v for k, v in average.items() if ".hider." in k} for average in averages]
    analyzer = [{k: v for k, v in average.items() if ".analyzer." in k} for average in averages]

    def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(a[name], b[name]) for name in a)

    assert [same(*pair) for pair in pairwise(hider)] == [False, False, True]
    assert [same(*pair) for pair in pairwise(analyzer)] == [False, False, False]


def test_earlier_run_is_not_overwritten(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1-hide.pt").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"out: expected an empty folder, found checkpoints; add --resume"):
        train(arguments)


def test_resume_goes_on(arguments: list[str], tmp_path: Path) -> None:
    train(arguments)
    weights = {path.name: path.read_bytes() for path in (tmp_path / "out" / "weights").iterdir()}
    assert train([*arguments, "--resume"]) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "weights").iterdir()} == weights


def test_learns_from_train_and_looks_at_val(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, str]] = []

    def watch(module: ModuleType, name: str) -> None:
        real = getattr(module, name)

        def reader(folder: Path, split: str, *rest):
            read.append((name, split))
            return real(folder, split, *rest)

        monkeypatch.setattr(module, name, reader)

    def stop(objective, batch_of, validate, *rest):
        assert validate.keywords["scans"].images.shape[0] == 2
        assert validate.keywords["covers"].shape == (2, 3, 32, 32)
        raise KeyboardInterrupt

    watch(data, "read_scans")
    watch(runs, "read_covers")
    monkeypatch.setattr(runs, "run_stage", stop)
    with pytest.raises(KeyboardInterrupt):
        train(arguments)
    assert sorted(read) == [(name, split) for name in ("read_covers", "read_scans") for split in ("train", "val")]


def test_simulated_scans_are_mixed_in(
    arguments: list[str], scans_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def stop(objective, batch_of, *rest):
        seen.append(batch_of(0).secrets.shape[0])
        raise KeyboardInterrupt

    counted: list[int] = []
    real = runs._mixed
    monkeypatch.setattr(runs, "run_stage", stop)
    monkeypatch.setattr(runs, "_mixed", lambda a, b: counted.append(len(real(a, b).images)) or real(a, b))
    with pytest.raises(KeyboardInterrupt):
        train([*arguments, "--simulated", str(scans_folder)])
    assert counted == [8]
    assert seen == [2]


def test_full_disk(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda path: usage(2**40, 2**40, 2**29))
    with pytest.raises(TrainingError, match=r"expected 1 GiB free for checkpoints, got 0\.50; make room"):
        train(arguments)


def test_no_data(arguments: list[str], scans_folder: Path) -> None:
    (scans_folder / "index.csv").unlink()
    with pytest.raises(DatasetError, match="expected a data set"):
        train(arguments)


@pytest.mark.parametrize(
    "call", [["nonsense"], ["micro"], ["micro", "--data", ".", "--covers", ".", "--device", "tpu"]]
)
def test_wrong_call(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        train(call)
    assert caught.value.code == 2
    assert "usage: hidemia train" in capsys.readouterr().err


def test_a_recipe_that_goes_on_from_another_model_asks_for_it(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("start", "hider_of", "pupil_of"):
        monkeypatch.setitem(RECIPES, "micro", dataclasses.replace(MICRO, **{kind: "other"}))
        with pytest.raises(SystemExit):
            train(arguments)
        assert "expected the weights of other, which micro goes on from, got none" in capsys.readouterr().err


def test_an_analyzer_of_another_kind_learns_on_the_hider_it_starts_with(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(out: str, recipe: Recipe, *more: str) -> System:
        monkeypatch.setitem(RECIPES, "micro", recipe)
        assert train([*arguments, "--out", str(tmp_path / out), *more]) == 0
        return load_weights(tmp_path / out / "weights")[0]

    first = trained("first", MICRO)
    plain = dataclasses.replace(MICRO.model, analyzer=AnalyzerConfig(k=0, width=8, levels=1, attention_levels=1))
    look = StageConfig("look", steps=2, batch=2, size_px=16, analyzer_rate=1e-3)
    recipe = Recipe(plain, (look, look), hider_of="micro")
    begun = "--start", str(tmp_path / "first" / "weights")
    second = trained("second", recipe, *begun)
    assert equal(second.hider, first.hider)
    # From the second stage on, --start names weights of the model itself: its analyzer is taken over.
    rate_0 = dataclasses.replace(recipe, stages=(look, dataclasses.replace(look, analyzer_rate=0.0)))
    third = trained("third", rate_0, "--start", str(tmp_path / "second" / "weights"), "--first-stage", "2")
    kernel = "unets.ll.down.0.conv1.weight"
    torch.testing.assert_close(third.analyzer.state_dict()[kernel], second.analyzer.state_dict()[kernel])
    deeper = dataclasses.replace(recipe, model=dataclasses.replace(plain, hider=HiderConfig(blocks=4, growth=4)))
    with pytest.raises(TrainingError, match=r"expected a hider as micro has it .*blocks=4.*, got that of micro .*=2"):
        trained("fourth", deeper, *begun)


def test_plain_networks_are_followed_where_the_recipe_says_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "micro", dataclasses.replace(MICRO, stages=(MICRO.stages[0], FOLLOW)))
    weights = str(plain(tmp_path))

    def learned(name: str, *options: str) -> System:
        assert train([*arguments[:-1], str(tmp_path / name), *options]) == 0
        (row,) = (tmp_path / name / "2-follow.jsonl").read_text().splitlines()
        assert json.loads(row)["guide"] > 0
        return load_weights(tmp_path / name / "weights")[0]

    assert not equal(learned("one", "--plain", weights), learned("two", "--plain", weights, weights))
    again = [*arguments[:-1], str(tmp_path / "one"), "--resume", "--plain"]
    assert train([*again, weights]) == 0
    torch.manual_seed(6)
    config = matched(MICRO.model)
    save_plain(config.build(), config, tmp_path / "other")
    with pytest.raises(TrainingError, match=r"2-follow.pt: .*got one that differs in the guide, which --plain names;"):
        train([*again, str(tmp_path / "other")])
    # Weights that are past the stage which follows go on without.
    three = dataclasses.replace(MICRO, stages=(*RECIPES["micro"].stages, MICRO.stages[3]))
    monkeypatch.setitem(RECIPES, "micro", three)
    more = ["--start", str(tmp_path / "one" / "weights"), "--first-stage", "3", "--out", str(tmp_path / "on")]
    assert train([*arguments, *more]) == 0


def test_a_run_goes_on_as_it_began(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another seed, or from the checkpoint of another recipe, there is one line instead."""
    one = dataclasses.replace(MICRO, stages=MICRO.stages[:1])
    monkeypatch.setitem(RECIPES, "micro", one)
    assert train([*arguments, "--seed", "1"]) == 0
    with pytest.raises(TrainingError, match=r"1-hide.pt: expected seed 1, as the run began, got 0; give the same or"):
        train([*arguments, "--resume"])
    narrow = dataclasses.replace(one.model, hider=HiderConfig(blocks=2, growth=2))
    monkeypatch.setitem(RECIPES, "micro", dataclasses.replace(one, model=narrow))
    with pytest.raises(TrainingError, match=r"expected a checkpoint of this recipe and version, got .*size mismatch"):
        train([*arguments, "--resume", "--seed", "1"])
    checkpoint = tmp_path / "out" / "1-hide.pt"
    torch.save({"step": 3}, checkpoint)  # as an earlier version may have written it
    with pytest.raises(TrainingError, match=r"expected a checkpoint of this recipe and version, got .*'begun'"):
        train([*arguments, "--resume", "--seed", "1"])
