"""What tests of several layers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from tests.standins.machine import VERSIONS, Machine

# The same examples in every run, so that a red run is about what changed. `--hypothesis-profile explore` draws others.
settings.register_profile("suite", derandomize=True)
settings.register_profile("explore")
settings.load_profile("suite")


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Iterator[Machine]:
    """A machine whose TensorRT, CUDA and pycuda are stand-ins; nothing may be left on its GPU."""
    made = Machine(monkeypatch, tmp_path / "cache")
    yield made
    assert not made.gpu.leaks


@pytest.fixture(params=VERSIONS)
def each_machine(request, machine) -> Machine:
    """The same with each TensorRT that is supported."""
    machine.become(request.param)
    return machine
