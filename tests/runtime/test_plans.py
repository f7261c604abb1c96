from __future__ import annotations

import msgspec
import pytest

from hidemia.runtime.environment import Environment
from hidemia.runtime.errors import EngineError
from hidemia.runtime.nvidia import Gpu
from hidemia.runtime.plans import environment_name, mismatches
from hidemia.runtime.receipt import Plan, Receipt

HERE = Environment(
    os="Linux 5.15", architecture="aarch64", cpu="", cores=6, python="3.10", tensorrt="10.3.0", cuda_runtime="12.6",
    gpus=[Gpu(name="Orin", compute_capability="8.7")], l4t="36.4.3",
)  # fmt: skip
PLAN = Plan(
    path="hide.fp16.plan", sha256="0" * 64, size_bytes=1, verb="hide", onnx_path="hide.fp16.onnx",
    onnx_sha256="1" * 64, precision="fp16", precision_achieved={"fp16": 1}, batch=(1, 1, 1), workspace_mib=1,
)  # fmt: skip
RECEIPT = Receipt(
    os="Linux 5.15", architecture="aarch64", tensorrt="10.3.0", cuda="12.6", driver=None, gpu="Orin",
    compute_capability="8.7", l4t="36.4.0", timing_cache_sha256=None, hidemia="0.1.0", plans=[PLAN],
)  # fmt: skip


def here(**changes) -> Environment:
    return msgspec.structs.replace(HERE, **changes)


def gpu(name: str, capability: str | None) -> list[Gpu]:
    return [Gpu(name=name, compute_capability=capability)]


@pytest.mark.parametrize(
    ("plan", "environment", "expected"),
    [
        ({}, {}, []),
        ({}, {"tensorrt": "10.3.1"}, ["built by TensorRT 10.3.0, this is 10.3.1"]),
        ({}, {"tensorrt": None}, ["built by TensorRT 10.3.0, this is none"]),
        ({"version_compatible": True}, {"tensorrt": "10.13.3.9"}, []),
        ({"version_compatible": True}, {"tensorrt": "10.2.0"}, ["built by TensorRT 10.3.0, this is 10.2.0"]),
        ({"version_compatible": True}, {"tensorrt": "11.4.0"}, ["built by TensorRT 10.3.0, this is 11.4.0"]),
        ({}, {"gpus": []}, ["built for Orin (compute capability 8.7), this is no GPU (unknown)"]),
        (
            {},
            {"gpus": gpu("Orin NX", "8.7")},
            ["built for Orin (compute capability 8.7), this is Orin NX (8.7)"],
        ),
        ({"hardware_compatibility": "same_compute_capability"}, {"gpus": gpu("Orin NX", "8.7")}, []),
        (
            {"hardware_compatibility": "same_compute_capability"},
            {"gpus": gpu("A2", "8.6")},
            ["built for Orin (compute capability 8.7, level same compute capability), this is A2 (8.6)"],
        ),
        ({"hardware_compatibility": "ampere_plus"}, {"gpus": gpu("L4", "8.9")}, []),
        ({"hardware_compatibility": "ampere_plus"}, {"gpus": gpu("B200", "10.0")}, []),
        (
            {"hardware_compatibility": "ampere_plus"},
            {"gpus": gpu("T4", "7.5")},
            ["built for Orin (compute capability 8.7, level ampere plus), this is T4 (7.5)"],
        ),
        ({}, {"architecture": "x86_64"}, ["built on aarch64, this is x86_64"]),
        ({}, {"l4t": "36.3.0"}, ["built on Jetson Linux 36.4.0, this is 36.3.0"]),
        ({}, {"l4t": None}, ["built on Jetson Linux 36.4.0, this is none"]),
        (
            {},
            {"tensorrt": "8.6.2", "l4t": "36.3.0"},
            ["built by TensorRT 10.3.0, this is 8.6.2", "built on Jetson Linux 36.4.0, this is 36.3.0"],
        ),
    ],
)
def test_mismatches(plan, environment, expected):
    assert mismatches(RECEIPT, msgspec.structs.replace(PLAN, **plan), here(**environment)) == expected


def test_environment_names():
    assert environment_name(HERE) == "trt-10.3.0-orin-sm87-l4t-36.4"
    other = here(gpus=gpu("NVIDIA GeForce RTX 4090/D (../x)", "8.9"), l4t=None, tensorrt="11.4.0.106")
    assert environment_name(other) == "trt-11.4.0.106-nvidia-geforce-rtx-4090-d-..-x-sm89"
    with pytest.raises(EngineError, match="expected a GPU and TensorRT, got none"):
        environment_name(here(gpus=[]))
