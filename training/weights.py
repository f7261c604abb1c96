"""The folder of a trained model: ``hider.safetensors``, ``analyzer.safetensors``, ``config.json``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hidemia.training.errors import TrainingError
from hidemia.training.model import ModelConfig
from hidemia.training.system import System

Bits = Literal[8, 16, 32]


def save_weights(system: System, config: ModelConfig, folder: Path, bits: Bits = 32) -> None:
    """Write a model, its larger tensors in so many bits a number (its figures must then be taken with what is stored).

    Each file is written beside its place and renamed, so that none is ever half there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in _parts(system).items():
        tensors: dict[str, Tensor] = {}
        for key, value in part.state_dict().items():
            tensors |= _stored(key, value.detach().contiguous(), bits)
        save_file(tensors, folder / f"{name}.partial")
        (folder / f"{name}.partial").replace(folder / f"{name}.safetensors")
    save_config(config, folder)


def _stored(name: str, value: Tensor, bits: Bits) -> dict[str, Tensor]:
    """What stands in the file for a tensor.

    At 8 bits a kernel has steps of its own for each of its outputs, ``name:step`` (float32), as INT8 engines have.
    Vectors stay as they are: they are few, and batch norms.
    """
    if value.ndim < 2 or bits == 32:
        return {name: value}
    if value.ndim < 4 or bits == 16:
        return {name: value.half()}
    largest = value.abs().amax(dim=(1, 2, 3)).half().float()  # in float16, so that storing again changes nothing
    step = largest.clamp_min(1e-12) / 127
    levels = (value / step.view(-1, 1, 1, 1)).round().clamp(-127, 127)
    return {name: levels.to(torch.int8), f"{name}:step": step}


def _restored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file as networks take them.

    Those of 8 bits become what float16 holds, so that an exported graph can keep them in 16 bits and lose nothing.
    """

    def whole(name: str, value: Tensor) -> Tensor:
        if value.dtype != torch.int8:
            return value
        return (value * tensors[f"{name}:step"].view(-1, 1, 1, 1)).half()

    return {name: whole(name, value) for name, value in tensors.items() if not name.endswith(":step")}


def save_judge(system: System, folder: Path) -> None:
    """Renew what a verdict adds to each class in the file of an analyzer, and nothing else there."""
    path, name = folder / "analyzer.safetensors", "net.verdict.linear.bias"
    tensors = load_file(path)
    tensors[name] = _parts(system)["analyzer"].state_dict()[name].detach().contiguous()
    save_file(tensors, path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)


def save_config(config: ModelConfig, folder: Path) -> None:
    """Write a model's configuration alone: its weights, and what is bound to them, stay as they are."""
    text = msgspec.json.format(msgspec.json.encode(dataclasses.asdict(config), order="sorted"), indent=2)
    (folder / "config.partial").write_bytes(text + b"\n")
    (folder / "config.partial").replace(folder / "config.json")


def load_weights(folder: Path) -> tuple[System, ModelConfig]:
    """Build the networks of a model and fill them, in evaluation mode and float32.

    Raises:
        TrainingError: a file is missing or does not fit the configuration.
    """
    for name in ("config.json", "hider.safetensors", "analyzer.safetensors"):
        if not (folder / name).is_file():
            raise TrainingError(f"{folder}: expected a trained model, found no {name}; run `hidemia train` first")
    path = folder / "config.json"
    try:
        config = _decoded(path.read_bytes())
        system = config.build()
    except (msgspec.DecodeError, ValueError) as error:
        raise TrainingError(f"{path}: {error}; it must come from `hidemia train`") from error
    for name, part in _parts(system).items():
        _fill(part, folder / f"{name}.safetensors")
    return system.eval(), config


def _decoded(text: bytes) -> ModelConfig:
    """A configuration; the first ones name no networks, because there was one of each."""
    found = msgspec.json.decode(text, type=dict[str, Any])
    for part, kind in (("hider", "invertible"), ("analyzer", "hidemia")):
        if isinstance(found.get(part), dict):
            found[part] = {"kind": kind} | found[part]
    return msgspec.convert(found, ModelConfig)


def _parts(system: System) -> dict[str, nn.Module]:
    """What each file holds."""
    return {
        "hider": system.hider,
        "analyzer": nn.ModuleDict({"net": system.analyzer, "head": system.head}),
    }


def _fill(part: nn.Module, path: Path) -> None:
    try:
        part.load_state_dict(_restored(load_file(path)))
    except SafetensorError as error:
        raise TrainingError(f"{path}: expected safetensors, got a damaged file ({error}); copy it again") from error
    except (RuntimeError, KeyError) as error:
        line = " ".join(str(error).split())[:300]
        raise TrainingError(f"{path} does not fit config.json: {line}") from error
