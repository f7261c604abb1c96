"""What tests of several layers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.standins.machine import VERSIONS, Machine


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
