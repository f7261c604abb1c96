import logging
import pickle
from pathlib import Path

import pytest
import torch

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.command import train
from hidemia.training.errors import TrainingError
from hidemia.training.hinet import load_hinet
from hidemia.training.invertible import HiderConfig, InvertibleHider, hinet
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import RECIPES
from hidemia.training.weights import load_weights


@pytest.fixture
def hider(shake) -> InvertibleHider:
    return shake(InvertibleHider(blocks=3, growth=4, slope=0.01), std=0.05)


def released(hider: InvertibleHider, prefix: str = "module.model.") -> dict[str, object]:
    """The dictionary that HiNet's training script saves."""
    net = {prefix + name: value for name, value in hider.state_dict().items()}
    return {"opt": {"state": {}, "param_groups": [{"lr": 1e-5}]}, "net": net | {"module.tmp_var": torch.zeros(1)}}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["module.model.", "module.", "model.", ""])
def test_the_released_layout(hider: InvertibleHider, prefix: str, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(released(hider, prefix), path, _use_new_zipfile_serialization=zipped)
    loaded, config = load_hinet(path)
    assert (config.blocks, config.growth, config.slope) == (3, 4, 0.01)
    assert not loaded.training
    secret, cover = torch.rand(2, 1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(loaded.hide(secret, cover), hider.hide(secret, cover))
        assert torch.equal(loaded.recover(cover), hider.recover(cover))


def test_a_bare_state(hider: InvertibleHider, tmp_path: Path) -> None:
    torch.save({f"module.{name}": value for name, value in hider.state_dict().items()}, tmp_path / "model.pt")
    loaded, _ = load_hinet(tmp_path / "model.pt")
    assert torch.equal(loaded.inv3.y.conv5.bias, hider.inv3.y.conv5.bias)


def test_sixteen_blocks_are_hinet(tmp_path: Path) -> None:
    torch.save(released(hinet()), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    loaded, config = load_hinet(tmp_path / "model.pt")
    assert (config.blocks, config.growth) == (16, 32)
    assert sum(parameter.numel() for parameter in loaded.parameters()) == 4_050_240


def test_what_is_hidden_comes_back(hider: InvertibleHider, tmp_path: Path) -> None:
    torch.save(released(hider), tmp_path / "model.pt")
    loaded = load_hinet(tmp_path / "model.pt")[0].double()
    cover, secret = torch.rand(2, 1, 12, 8, 8, dtype=torch.float64)
    back = loaded.reveal_bands(*loaded.hide_bands(cover, secret))
    torch.testing.assert_close(back, (cover, secret), rtol=0, atol=1e-9)


def refused(path: Path, match: str) -> None:
    with pytest.raises(TrainingError, match=match) as caught:
        load_hinet(path)
    assert "\n" not in str(caught.value)
    assert "get HiNet's model.pt again" in str(caught.value)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("harmed"),)


def test_nothing_in_the_file_is_executed(hider: InvertibleHider, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for zipped in (True, False):
        torch.save(
            released(hider) | {"opt": Harmful()}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped
        )  # fmt: skip
        refused(tmp_path / "model.pt", "expected a checkpoint of tensors alone")
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Harmful()))
    refused(tmp_path / "model.pt", "expected a checkpoint of tensors alone")
    assert not (tmp_path / "harmed").exists()


def test_files_that_are_no_checkpoint(hider: InvertibleHider, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    refused(path, "expected HiNet's checkpoint, got No such file or directory")
    path.write_bytes(b"")
    refused(path, "expected a checkpoint of tensors alone")
    path.write_bytes(b"a page of text\n" * 100)
    refused(path, "expected a checkpoint of tensors alone")
    for zipped in (True, False):
        torch.save(released(hider), path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for share in (0.2, 0.9):
            path.write_bytes(whole[: int(share * len(whole))])
            refused(path, "expected a checkpoint of tensors alone")


def test_checkpoints_of_something_else(hider: InvertibleHider, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    for other in ([torch.zeros(3)], {"net": 5}, {"weight": torch.zeros(3)}, {"net": {1: torch.zeros(2)}}):
        torch.save(other, path)
        refused(path, r"expected inv1\.f\.conv1\.weight of an invertible hider, got \[")
    found = released(hider)
    del found["net"]["module.model.inv2.r.conv3.bias"]
    torch.save(found, path)
    refused(path, r"expected 3 invertible blocks, got: .*Missing key.*inv2\.r\.conv3\.bias")
    found = released(hider)
    found["net"]["module.model.inv2.r.conv3.bias"] = torch.zeros(9)
    torch.save(found, path)
    refused(path, "expected 3 invertible blocks, got: .*size mismatch")


TAUGHT = Recipe(
    ModelConfig(
        "taught",
        image_size_px=32,
        hider=HiderConfig(blocks=4, growth=4, slope=0.01),
        analyzer=AnalyzerConfig(width=8, levels=1, attention_levels=1),
    ),
    (
        StageConfig("hide", steps=2, batch=2, size_px=16, hider_rate=1e-3, teacher=True),
        StageConfig("analyze_frozen", steps=2, batch=2, size_px=32, analyzer_rate=1e-3, teacher=True),
        StageConfig("distill_functions", steps=2, batch=2, size_px=32, hider_rate=1e-3),
    ),
    teacher=HiderConfig(blocks=8, growth=4, slope=0.01),
)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe by its name; the command leaves logging as it was."""
    monkeypatch.setitem(RECIPES, "taught", TAUGHT)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)


@pytest.mark.usefixtures("taught")
def test_as_the_teacher_of_a_recipe(shake, scans_folder: Path, covers_folder: Path, tmp_path: Path) -> None:
    teacher = shake(InvertibleHider(blocks=8, growth=4, slope=0.01), std=0.02)
    torch.save(released(teacher), tmp_path / "model.pt")
    out = tmp_path / "out"
    call = ["taught", "--data", str(scans_folder), "--covers", str(covers_folder), "--device", "cpu"]
    call += ["--teacher", str(tmp_path / "model.pt"), "--first-stage", "2", "--out", str(out)]
    assert train(call) == 0
    assert sorted(path.name for path in out.glob("*.pt")) == ["2-analyze_frozen.pt", "3-distill_functions.pt"]
    kept = torch.load(out / "2-analyze_frozen.pt", weights_only=True)["average"]
    for name, value in teacher.state_dict().items():
        assert torch.equal(kept[f"module.hider.{name}"], value), name
    assert len(load_weights(out / "weights")[0].hider.blocks()) == 4  # the student is what is shipped


@pytest.mark.usefixtures("taught")
def test_a_teacher_of_another_size(
    hider: InvertibleHider, scans_folder: Path, covers_folder: Path, tmp_path: Path
) -> None:
    torch.save(released(hider), tmp_path / "model.pt")
    call = ["--data", str(scans_folder), "--covers", str(covers_folder), "--device", "cpu"]
    call += ["--teacher", str(tmp_path / "model.pt"), "--out", str(tmp_path / "out")]
    with pytest.raises(TrainingError, match=r"expected 8 blocks of 4, as the recipe taught has it, got 3 blocks of 4"):
        train(["taught", *call])
    with pytest.raises(TrainingError, match=r"expected no teacher, as the recipe busi has it, got 3 blocks of 4"):
        train(["busi", *call])
    with pytest.raises(SystemExit, match="2"):
        train(["taught", *call[:-4], "--first-stage", "2"])
