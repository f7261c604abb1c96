"""The folder of a trained model: ``hider.safetensors``, ``analyzer.safetensors``, ``config.json``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file, save_file

from hidemia.training.errors import TrainingError
from hidemia.training.recipes import ModelConfig
from hidemia.training.system import System


def save_weights(system: System, config: ModelConfig, folder: Path, half: bool = False) -> None:  # noqa: FBT001, FBT002
    """Write a model; ``half`` stores the large tensors in float16 (its figures must then be taken with it)."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"hider": system.hider, "analyzer": torch.nn.ModuleDict({"net": system.analyzer, "head": system.head})}
    for name, part in parts.items():
        tensors = {
            key: value.detach().contiguous().to(torch.float16 if half and value.ndim > 1 else value.dtype)
            for key, value in part.state_dict().items()
        }
        save_file(tensors, folder / f"{name}.safetensors")
    text = msgspec.json.format(msgspec.json.encode(dataclasses.asdict(config), order="sorted"), indent=2)
    (folder / "config.json").write_bytes(text + b"\n")


def load_weights(folder: Path) -> tuple[System, ModelConfig]:
    """Build the networks of a model and fill them, in evaluation mode and float32.

    Raises:
        TrainingError: a file is missing or does not fit the configuration.
    """
    for name in ("config.json", "hider.safetensors", "analyzer.safetensors"):
        if not (folder / name).is_file():
            raise TrainingError(f"{folder}: expected a trained model, found no {name}; run `hidemia train` first")
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=ModelConfig)
    except msgspec.DecodeError as error:
        raise TrainingError(f"{folder / 'config.json'}: {error}; it must come from `hidemia train`") from error
    system = config.build()
    parts = {"hider": system.hider, "analyzer": torch.nn.ModuleDict({"net": system.analyzer, "head": system.head})}
    for name, part in parts.items():
        try:
            part.load_state_dict(load_file(folder / f"{name}.safetensors"))
        except RuntimeError as error:
            line = " ".join(str(error).split())[:300]
            raise TrainingError(f"{folder / name}.safetensors does not fit config.json: {line}") from error
    return system.eval(), config
