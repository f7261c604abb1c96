import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec import Struct
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.errors import TrainingError
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.pairs import HIDERS, PAIRS, RIVALS
from hidemia.training.recipes import BUSI, PAPER
from hidemia.training.system import System
from hidemia.training.weights import _restored, _stored, load_weights, save_weights

MODEL = ModelConfig(
    "tiny",
    image_size_px=32,
    hider=HiderConfig(blocks=2, growth=4),
    analyzer=AnalyzerConfig(width=8, levels=2, attention_levels=1, diagonals="literal5", candidates=(1, 2, 4)),
)


@pytest.fixture
def system(shake) -> System:
    system = shake(MODEL.build())
    system(*torch.rand(2, 2, 3, 32, 32))  # the batch norms have seen something
    return system.eval()


@pytest.fixture
def folder(system: System, tmp_path: Path) -> Path:
    save_weights(system, MODEL, tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(system: System, folder: Path) -> None:
    loaded, config = load_weights(folder)
    assert config == MODEL
    assert not any(module.training for module in loaded.modules())
    for name, tensor in system.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    assert torch.equal(loaded(secret, cover).logits, system(secret, cover).logits)


def test_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "hider.safetensors",
        "analyzer.safetensors",
    }
    assert set(load_file(folder / "hider.safetensors")) == set(MODEL.build().hider.state_dict())
    assert {name.split(".")[0] for name in load_file(folder / "analyzer.safetensors")} == {"net"}


def test_same_weights_same_bytes(system: System, folder: Path, tmp_path: Path) -> None:
    save_weights(system, MODEL, tmp_path / "again")
    for path in folder.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_half(system: System, folder: Path, tmp_path: Path) -> None:
    save_weights(system, MODEL, tmp_path / "half", bits=16)
    kinds = set()
    for part in ("hider", "analyzer"):
        for tensor in load_file(tmp_path / "half" / f"{part}.safetensors").values():
            kinds.add((tensor.ndim > 1, tensor.dtype))
    assert kinds == {(True, torch.float16), (False, torch.float32), (False, torch.int64)}
    size = [sum(path.stat().st_size for path in f.glob("*.safetensors")) for f in (folder, tmp_path / "half")]
    assert size[1] < 0.7 * size[0]
    loaded, _ = load_weights(tmp_path / "half")
    for name, tensor in system.state_dict().items():
        stored = loaded.state_dict()[name]
        assert stored.dtype == tensor.dtype
        assert torch.equal(stored, tensor.half().float() if tensor.ndim > 1 else tensor), name


def test_eight_bits(system: System, tmp_path: Path) -> None:
    """Kernels lie within half a step of what they were, and storing what was read changes nothing any more."""
    for name, kept in (("once", system), ("twice", None)):
        save_weights(kept or load_weights(tmp_path / "once")[0], MODEL, tmp_path / name, bits=8)
    once, twice = (load_weights(tmp_path / name)[0].state_dict() for name in ("once", "twice"))
    for name, tensor in system.state_dict().items():
        assert torch.equal(once[name], twice[name]), name
        assert torch.equal(once[name], once[name].half().float()) or tensor.ndim < 2, name
        if tensor.ndim == 4:
            step = tensor.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
            assert ((once[name] - tensor).abs() <= step * 0.5 + tensor.abs() * 2**-10).all(), name
        elif tensor.ndim < 2:
            assert torch.equal(once[name], tensor), name
    stored = load_file(tmp_path / "once" / "hider.safetensors")
    assert {value.dtype for value in stored.values() if value.ndim == 4} == {torch.int8}


def test_eight_bits_by_hand() -> None:
    kernel = torch.tensor([[1.27, -0.004], [0.0, 0.0]]).view(2, 2, 1, 1)
    stored = _stored("k", kernel, 8)
    assert stored["k"].flatten().tolist() == [127, 0, 0, 0]
    assert stored["k:step"][0].item() == pytest.approx(0.01, rel=1e-3)
    assert _restored(stored)["k"].flatten().tolist() == pytest.approx([1.27, 0, 0, 0], abs=1e-3)


def test_eight_bits_without_a_step(system: System, tmp_path: Path) -> None:
    save_weights(system, MODEL, tmp_path, bits=8)
    path = tmp_path / "hider.safetensors"
    tensors = load_file(path)
    del tensors[next(name for name in tensors if name.endswith(":step"))]
    save_file(tensors, path)
    refused(tmp_path, r"hider\.safetensors does not fit config\.json: .*:step")


def test_pooled_head_is_saved(tmp_path: Path) -> None:
    model = dataclasses.replace(MODEL, task="classification", head="pooled", classes=("a", "b", "c"))
    system = model.build()
    save_weights(system, model, tmp_path)
    loaded, _ = load_weights(tmp_path)
    assert torch.equal(loaded.head.linear.weight, system.head.linear.weight)


@pytest.mark.parametrize("analyzer", RIVALS.values(), ids=RIVALS)
@pytest.mark.parametrize("hider", HIDERS.values(), ids=HIDERS)
def test_every_kind_goes_round(hider: Struct, analyzer: Struct, tmp_path: Path) -> None:
    narrow = {"blocks": 2} if isinstance(hider, HiderConfig) else {"width": 10}
    model = ModelConfig(
        "rival", image_size_px=32, hider=replace(hider, **narrow), analyzer=replace(analyzer, width=4, residual="all")
    )
    system = model.build().eval()
    save_weights(system, model, tmp_path)
    loaded, config = load_weights(tmp_path)
    assert config == model
    secret, cover = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(secret, cover).logits, system(secret, cover).logits)


def test_a_configuration_without_kinds_is_of_the_first_networks(system: System, folder: Path) -> None:
    path = folder / "config.json"
    found = msgspec.json.decode(path.read_bytes())
    del found["hider"]["kind"], found["analyzer"]["kind"]
    path.write_bytes(msgspec.json.encode(found))
    loaded, config = load_weights(folder)
    assert config == MODEL
    assert torch.equal(loaded.hider.inv1.f.conv1.weight, system.hider.inv1.f.conv1.weight)


@pytest.mark.parametrize("model", [BUSI.model, PAPER.model, *(recipe.model for recipe in PAIRS)])
def test_config_says_it_all(model: ModelConfig) -> None:
    text = msgspec.json.encode(dataclasses.asdict(model))
    assert msgspec.json.decode(text, type=ModelConfig) == model


def refused(folder: Path, match: str) -> None:
    with pytest.raises(TrainingError, match=match) as caught:
        load_weights(folder)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["config.json", "hider.safetensors", "analyzer.safetensors"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, f"expected a trained model, found no {name}; run `hidemia train` first")


@pytest.mark.parametrize("part", ["hider", "analyzer"])
def test_other_networks(folder: Path, part: str) -> None:
    path = folder / f"{part}.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("weight"))
    save_file({**tensors, name: torch.zeros(7)}, path)
    refused(folder, rf"{part}\.safetensors does not fit config\.json: .*size mismatch")
    del tensors[name]
    save_file(tensors, path)
    refused(folder, rf"{part}\.safetensors does not fit config\.json: .*Missing key")


def test_damaged_weights(folder: Path) -> None:
    path = folder / "hider.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    refused(folder, r"hider\.safetensors: expected safetensors, got a damaged file")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"name"', '"nom"'),
        ('"blocks": 2', '"blocks": "two"'),
        ("{", ""),
        ('"attention": "asymmetric"', '"attention": "sideways"'),
        ('"residual": "all"', '"residual": "some"'),
        ('"kind": "hidemia"', '"kind": "vnet"'),
        ('"kind": "invertible"', '"kind": 3'),
        ('"form": "differential"', '"form": "guess"'),
    ],
)
def test_wrong_config(folder: Path, old: str, new: str) -> None:
    path = folder / "config.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(folder, r"config\.json: .*; it must come from `hidemia train`")


def test_power_cut_leaves_the_old_model(system: System, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half_a_file(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half a fi")
        raise InterruptedError

    monkeypatch.setattr("hidemia.training.weights.save_file", half_a_file)
    with pytest.raises(InterruptedError):
        save_weights(system, MODEL, folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    load_weights(folder)
