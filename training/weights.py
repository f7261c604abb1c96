"""The folder of a trained model: ``hider.safetensors``, ``analyzer.safetensors``, ``config.json``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from hidemia.training.errors import TrainingError
from hidemia.training.recipes import ModelConfig
from hidemia.training.system import System


def save_weights(system: System, config: ModelConfig, folder: Path, half: bool = False) -> None:  # noqa: FBT001, FBT002
    """Write a model; ``half`` stores the large tensors in float16 (its figures must then be taken with it).

    Each file is written beside its place and renamed, so that none is ever half there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in _parts(system).items():
        tensors = {
            key: value.detach().contiguous().to(torch.float16 if half and value.ndim > 1 else value.dtype)
            for key, value in part.state_dict().items()
        }
        save_file(tensors, folder / f"{name}.partial")
        (folder / f"{name}.partial").replace(folder / f"{name}.safetensors")
    save_config(config, folder)


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
        part.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise TrainingError(f"{path}: expected safetensors, got a damaged file ({error}); copy it again") from error
    except RuntimeError as error:
        line = " ".join(str(error).split())[:300]
        raise TrainingError(f"{path} does not fit config.json: {line}") from error
