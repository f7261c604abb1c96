from __future__ import annotations

import msgspec
import pytest

from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import EngineError
from hidemia.runtime.nvidia import Gpu
from hidemia.runtime.plans import environment_name

HERE = Environment(
    os="Linux 5.15", architecture="aarch64", cpu="", cores=6, python="3.10", tensorrt="10.3.0", cuda_runtime="12.6",
    gpus=[Gpu(name="Orin", compute_capability="8.7")], l4t="36.4.3",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "trt-10.3.0-orin-sm87-l4t-36.4"),
        ({"l4t": None}, "trt-10.3.0-orin-sm87"),
        (
            {"gpus": [Gpu(name="NVIDIA GeForce RTX 4090/D (../x)", compute_capability="8.9")], "l4t": None},
            "trt-10.3.0-nvidia-geforce-rtx-4090-d-..-x-sm89",
        ),
    ],
)
def test_environment_names(changes, name):
    assert environment_name(msgspec.structs.replace(HERE, **changes)) == name


@pytest.mark.parametrize("changes", [{"gpus": []}, {"tensorrt": None}])
def test_a_machine_that_builds_nothing(changes):
    with pytest.raises(EngineError, match="expected a GPU and TensorRT, got none"):
        environment_name(msgspec.structs.replace(HERE, **changes))
