from __future__ import annotations

import pytest

from hidemia.runtime.environment import Environment
from hidemia.runtime.nvidia import Gpu
from hidemia.runtime.plan_fit import explain_plan


def machine(**changes) -> Environment:
    """The machine that `tiny.make_receipt` was built on."""
    values = {
        "os": "Linux 6.8.0",
        "architecture": "x86_64",
        "cpu": "a CPU",
        "cores": 8,
        "python": "3.12.3",
        "engines": {"tensorrt": "10.3.0"},
        "tensorrt": "10.3.0",
        "cuda_runtime": "12.5",
        "cuda_driver": "12.5",
        "driver": "555.42.06",
        "gpus": [Gpu(name="NVIDIA GeForce RTX 4090", compute_capability="8.9")],
    }
    return Environment(**(values | changes))


def gpu(name: str, capability: str | None) -> dict:
    return {"gpus": [Gpu(name=name, compute_capability=capability)]}


@pytest.fixture
def explained(tiny):
    def explained(here: dict, *, of_plan=None, **of_receipt) -> list[tuple[str, str, str]]:
        receipt = tiny.make_receipt(b"plan", b"onnx", of_plan=of_plan, **of_receipt)
        found = explain_plan(receipt, receipt.plans[0], machine(**here), mend="hidemia build")
        assert not any("\n" in item.text for item in found)
        return [(item.grade, item.kind, item.text) for item in found]

    return explained


def test_at_home(explained):
    assert explained({}) == []


@pytest.mark.parametrize(
    ("here", "kind", "text"),
    [
        ({"tensorrt": "8.6.1"}, "tensorrt", "expected TensorRT 10.3.0, got 8.6.1; hidemia build"),
        ({"tensorrt": "10.3.1"}, "tensorrt", "expected TensorRT 10.3.0, got 10.3.1; hidemia build"),
        ({"tensorrt": "10.13.0"}, "tensorrt", "expected TensorRT 10.3.0, got 10.13.0; hidemia build"),
        ({"tensorrt": None}, "tensorrt", "expected TensorRT 10.3.0, got none; pip install 'hidemia[tensorrt]'"),
        ({"architecture": "aarch64"}, "architecture", "expected a x86_64 machine, got aarch64; hidemia build"),
        (
            gpu("NVIDIA L4", "8.9"),
            "gpu",
            "expected NVIDIA GeForce RTX 4090, got NVIDIA L4; hidemia build",
        ),
        (
            {"gpus": []},
            "gpu",
            "expected NVIDIA GeForce RTX 4090, got no GPU; install NVIDIA's current driver, then run nvidia-smi",
        ),
        (
            gpu("NVIDIA GeForce RTX 4090", None),
            "compute_capability",
            "expected compute capability 8.9, got unknown (NVIDIA GeForce RTX 4090); hidemia build",
        ),
        (
            {"cuda_driver": "11.8"},
            "cuda",
            "expected a driver for CUDA 12, got one for 11.8; install NVIDIA's current driver, then run nvidia-smi",
        ),
        (
            {"l4t": "36.4.3"},
            "l4t",
            "expected no Jetson, got Jetson Linux 36.4.3 (JetPack 6.2); hidemia build",
        ),
    ],
)
def test_elsewhere(explained, here, kind, text):
    assert explained(here) == [("FAIL", kind, f"analyze.fp16.plan: {text}")]


def test_an_older_driver_is_worth_a_word(explained):
    assert explained({"driver": "535.129.03"}) == [
        (
            "warn",
            "driver",
            (
                "analyze.fp16.plan: expected driver 555.42.06 or newer, as it was built with, got 535.129.03; "
                "install NVIDIA's current driver, then run nvidia-smi"
            ),
        )
    ]
    assert explained({"driver": "560.28"}) == []


def test_another_cuda_runtime_is_worth_a_word(explained):
    assert explained({"cuda_runtime": "13.0"}) == [
        ("warn", "cuda", "analyze.fp16.plan: expected CUDA 12, got 13.0; if it does not load: hidemia build")
    ]
    assert explained({"cuda_runtime": None, "cuda_driver": "13.0"}) == []
    assert explained({"cuda_runtime": "13.0"}, cuda="unknown") == []


def test_every_mismatch_is_listed(explained):
    found = explained(
        {
            "tensorrt": "8.6.1",
            "architecture": "aarch64",
            "l4t": "35.4.1",
            "driver": None,
            "cuda_runtime": "11.4",
            "cuda_driver": "11.4",
            **gpu("Orin", "8.7"),
        }
    )
    assert [kind for _, kind, _ in found] == [
        "tensorrt", "architecture", "l4t", "gpu", "compute_capability", "cuda", "cuda",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("10.13.3.9", "10.13.3.9.post1", True),  # the wheel's name of the same build
        ("10.13.3", "10.13.3.9", True),
        ("10.13.3.9", "10.13.3.8", False),
        ("8.6.1", "8.6.1", True),
    ],
)
def test_spellings_of_one_version(explained, built, here, fits):
    assert (explained({"tensorrt": here}, tensorrt=built) == []) is fits


@pytest.mark.parametrize(
    ("here", "fits"),
    [("10.3.0", True), ("10.3.1", True), ("10.13.3.9", True), ("10.2.0", False), ("11.4.0", False), ("8.6.1", False)],
)
def test_version_compatible_plans(explained, here, fits):
    assert (explained({"tensorrt": here}, of_plan={"version_compatible": True}) == []) is fits


@pytest.mark.parametrize(
    ("level", "here", "kinds"),
    [
        ("same_compute_capability", gpu("NVIDIA L4", "8.9"), []),
        ("same_compute_capability", gpu("NVIDIA A10", "8.6"), ["compute_capability"]),
        ("ampere_plus", gpu("NVIDIA A10", "8.6"), []),
        ("ampere_plus", gpu("NVIDIA H100 80GB HBM3", "9.0"), []),
        ("ampere_plus", gpu("NVIDIA B200", "10.0"), []),
        ("ampere_plus", gpu("Tesla T4", "7.5"), ["compute_capability"]),
        ("ampere_plus", gpu("Tesla T4", None), ["compute_capability"]),
        ("none", gpu("NVIDIA A10", "8.6"), ["gpu", "compute_capability"]),
    ],
)
def test_compatibility_levels(explained, level, here, kinds):
    found = explained(here, of_plan={"hardware_compatibility": level})
    assert [kind for _, kind, _ in found] == kinds


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [("36.4.0", "36.4.3", True), ("36.3.0", "36.4.0", False), ("36.4.3", "35.4.1", False), ("36.4.3", None, False)],
)
def test_jetson_linux(explained, built, here, fits):
    jetson = {"architecture": "aarch64", **gpu("Orin", "8.7"), "l4t": here, "driver": "540.4.0"}
    about = {"architecture": "aarch64", "gpu": "Orin", "compute_capability": "8.7", "l4t": built, "driver": "540.4.0"}
    assert (explained(jetson, **about) == []) is fits
