"""A machine with a GPU, a TensorRT of some version, cuda-python and pycuda, none of them real."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.standins import cuda_python, pycuda, tensorrt
from tests.standins.gpu import Gpu

from hidemia.runtime.environment import Environment
from hidemia.runtime.nvidia import Gpu as Seen

__all__ = ["VERSIONS", "Machine"]

VERSIONS = tensorrt.VERSIONS


class Machine:
    """Installed into `sys.modules` for one test; `become` puts other parts in."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        self._patch = monkeypatch
        self.gpu = Gpu()
        self.l4t: str | None = None
        self.become("10.3")
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr("hidemia.runtime.environment.gather", lambda: self.environment)

    def become(self, version: str, gpu: Gpu | None = None) -> None:
        """Another TensorRT, and perhaps another GPU, as after an update or a move of the disk."""
        self.gpu = gpu or self.gpu
        self.trt: Any = tensorrt.module(version, self.gpu)
        self.state = self.trt._state
        cuda = cuda_python.modules("13.5" if version.startswith("11") else "12.9", self.gpu)
        self.pycuda = pycuda.modules(self.gpu)
        for name, module in {"tensorrt": self.trt, **cuda, **self.pycuda}.items():
            self._patch.setitem(sys.modules, name, module)

    @property
    def environment(self) -> Environment:
        gpu = self.gpu
        seen = [Seen(name=gpu.name, compute_capability=gpu.capability)] if gpu.present else []
        return Environment(
            os="Linux 6.8", architecture="x86_64", cpu="test", cores=2, python="3.11", tensorrt=self.trt.__version__,
            cuda_runtime="12.4", cuda_driver="12.4", driver="550.54", gpus=seen, l4t=self.l4t,
        )  # fmt: skip
