"""The checkpoint that HiNet's authors released, as weights of `InvertibleHider`.

It is a dictionary with the optimizer's state in ``opt`` and the network's in ``net``, whose names carry the prefixes
of the authors' wrapper and of DataParallel: ``module.model.inv1.r.conv1.weight``. Other training scripts leave out
either, or ``net`` itself. Nothing in the file is executed.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hidemia.training.errors import TrainingError
from hidemia.training.invertible import HiderConfig, InvertibleHider

SLOPE = 0.01  # of HiNet's LeakyReLU, which the file does not hold
PREFIXES = ("module.", "model.")


def load_hinet(path: Path) -> tuple[InvertibleHider, HiderConfig]:
    """Read a checkpoint of any number of blocks, in evaluation mode.

    Raises:
        TrainingError: no such file, not a checkpoint of tensors, or not of an invertible hider.
    """
    remedy = "get HiNet's model.pt again"
    try:
        path.open("rb").close()
    except OSError as error:
        raise TrainingError(f"{path}: expected HiNet's checkpoint, got {error.strerror}; {remedy}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of pickle protocols: what cannot be read is refused
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        line = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise TrainingError(f"{path}: expected a checkpoint of tensors alone, got: {line}; {remedy}") from error
    tensors = _tensors(found)
    blocks = len({name.split(".")[0] for name in tensors if name.startswith("inv")})
    first = tensors.get("inv1.f.conv1.weight")
    if first is None or first.ndim != 4:
        raise TrainingError(
            f"{path}: expected inv1.f.conv1.weight of an invertible hider, got {sorted(tensors)[:3]}; {remedy}"
        )
    config = HiderConfig(blocks=blocks, growth=len(first), slope=SLOPE)
    hider = config.build()
    try:
        hider.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        line = " ".join(str(error).split())[:200]
        raise TrainingError(f"{path}: expected {blocks} invertible blocks, got: {line}; {remedy}") from error
    return hider.eval(), config


def _tensors(found: Any) -> dict[str, Tensor]:
    """The network's tensors by our names."""
    net = found.get("net", found) if isinstance(found, dict) else {}
    tensors = {}
    for name, value in net.items() if isinstance(net, dict) else ():
        short = str(name)
        for prefix in PREFIXES:
            short = short.removeprefix(prefix)
        if isinstance(value, Tensor) and "tmp_var" not in short:
            tensors[short] = value
    return tensors
