from __future__ import annotations

import pytest

from hidemia.runtime import nvidia
from hidemia.runtime.nvidia import Gpu


@pytest.mark.parametrize(
    ("text", "gpus", "driver"),
    [
        (
            "NVIDIA H100 80GB HBM3, 9.0, 550.54.15\n",
            [("NVIDIA H100 80GB HBM3", "9.0")],
            "550.54.15",
        ),
        (
            "Tesla T4, 7.5, 470.57.02\nNVIDIA GeForce RTX 3060, 8.6, 470.57.02\n",
            [("Tesla T4", "7.5"), ("NVIDIA GeForce RTX 3060", "8.6")],
            "470.57.02",
        ),
        ("Orin (nvgpu), [N/A], 540.4.0\n", [("Orin (nvgpu)", None)], "540.4.0"),
        ("Quadro, RTX 6000, 7.5, 535.129.03", [("Quadro, RTX 6000", "7.5")], "535.129.03"),
        ('Field "compute_cap" is not a valid field to query.\n', [], None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", [], None),
        ("No devices were found\n", [], None),
        ("", [], None),
    ],
)
def test_nvidia_smi(text, gpus, driver):
    assert nvidia.gpus_of_smi(text) == (
        [Gpu(name=name, compute_capability=capability) for name, capability in gpus],
        driver,
    )


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        (
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
                "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
            ),
            "535.129.03",
        ),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  555.42.06  Release Build  (build@host)\n",
            "555.42.06",
        ),
        (
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (build@host)\n"
                "GCC version:  collect2: error: ld returned 1 exit status\n"
            ),
            "540.4.0",
        ),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  384.81  Wed Aug 17 22:24:07 PDT 2016\n", "384.81"),
        ("GCC version:  gcc version 12.2.0\n", None),
        ("", None),
    ],
)
def test_kernel_driver(text, driver):
    assert nvidia.kernel_driver(text) == driver


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (
            (
                "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
                "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
            ),
            "36.4.3",
        ),
        ("# R36 (release), REVISION: 3.0, GCID: 36106755, BOARD: generic, EABI: aarch64", "36.3.0"),
        ("# R39 (release), REVISION: 2.", "39.2.0"),
        ("# R32(release), REVISION: 6.1, GCID: 27863751, BOARD: t186ref, EABI:aarch64", "32.6.1"),
        ("Ubuntu 22.04", None),
        ("", None),
    ],
)
def test_l4t_release(text, release):
    assert nvidia.l4t_release(text) == release


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{\n   "cuda" : {\n      "name" : "CUDA SDK",\n      "version" : "12.6.11"\n   },\n', "12.6"),
        ("CUDA Version 10.2.300\n", "10.2"),
        ("{}", None),
    ],
)
def test_toolkit_version(text, version):
    assert nvidia.toolkit_version(text) == version


def test_mapped_libraries():
    maps = (
        "7f20a0000000-7f20a8000000 r--p 00000000 08:01 393 /usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1\n"
        "7f20a8000000-7f20a9000000 r-xp 00000000 08:01 393 /usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1\n"
        "7f20b0000000-7f20b8000000 r--p 00000000 08:01 394 /opt/my site/tensorrt_libs/libnvinfer.so.10\n"
        "7f20c0000000-7f20c8000000 r--p 00000000 08:01 395 /opt/tensorrt_libs/libnvinfer_plugin.so.10\n"
        "7f20d0000000-7f20d8000000 rw-p 00000000 00:00 0 \n"
    )
    assert nvidia.mapped_libraries(maps, "libnvinfer") == [
        "/opt/my site/tensorrt_libs/libnvinfer.so.10",
        "/usr/lib/x86_64-linux-gnu/libnvinfer.so.8.6.1",
    ]


def test_cuda_version():
    assert [nvidia.cuda_version(number) for number in (12040, 11080, 13000)] == ["12.4", "11.8", "13.0"]
