"""What NVIDIA's driver, tools and files say about a machine: pure readers of their texts, and the driver itself."""

from __future__ import annotations

import ctypes
import re

from msgspec import Struct

__all__ = [
    "JETPACKS",
    "Gpu",
    "cuda_version",
    "gpus_of_driver",
    "gpus_of_smi",
    "kernel_driver",
    "l4t_release",
    "mapped_libraries",
    "toolkit_version",
]

SMI_QUERY = ("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader")

JETPACKS = {
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
}
"""JetPack of a Jetson Linux (L4T) release, as NVIDIA's archive lists them; others are left unnamed."""

_CU_COMPUTE_MAJOR, _CU_COMPUTE_MINOR = 75, 76  # CUdevice_attribute
_NAME_BYTES = 256


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU.

    Attributes:
        name: As the driver calls it, `NVIDIA GeForce RTX 4090`.
        compute_capability: `8.9`; None where nothing says it.
    """

    name: str
    compute_capability: str | None


def gpus_of_smi(text: str) -> tuple[list[Gpu], str | None]:
    """GPUs and driver version from the answer of `nvidia-smi` to `SMI_QUERY`; lines of another form are passed over.

    Example:
        >>> gpus_of_smi("NVIDIA H100 80GB HBM3, 9.0, 550.54.15")
        ([Gpu(name='NVIDIA H100 80GB HBM3', compute_capability='9.0')], '550.54.15')
    """
    gpus, driver = [], None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.rsplit(",", 2)]
        if len(cells) != 3 or not cells[0]:
            continue
        # Older tools do not know compute_cap, a Jetson's says [N/A].
        capability = cells[1] if re.fullmatch(r"\d+\.\d+", cells[1]) else None
        gpus.append(Gpu(name=cells[0], compute_capability=capability))
        driver = cells[2] if re.fullmatch(r"\d+(\.\d+)+", cells[2]) else driver
    return gpus, driver


def kernel_driver(text: str) -> str | None:
    """Driver version from `/proc/driver/nvidia/version`, of the closed and the open kernel module.

    Example:
        >>> kernel_driver("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023")
        '535.129.03'
    """
    found = re.search(r"^NVRM version:.*?Kernel Module\b.*?\s(\d+(?:\.\d+)+)\b", text, re.MULTILINE)
    return found[1] if found else None


def l4t_release(text: str) -> str | None:
    """Jetson Linux release from `/etc/nv_tegra_release`.

    Example:
        >>> l4t_release("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64")
        '36.4.3'
    """
    found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", text)
    if not found:
        return None
    return ".".join([found[1], *f"{found[2]}.0".split(".")[:2]])


def toolkit_version(text: str) -> str | None:
    """CUDA `major.minor` from the toolkit's `version.json` or `version.txt`."""
    found = re.search(r'"cuda"\s*:\s*\{[^}]*"version"\s*:\s*"(\d+\.\d+)', text) or re.search(
        r"CUDA Version (\d+\.\d+)", text
    )
    return found[1] if found else None


def mapped_libraries(text: str, stem: str) -> list[str]:
    """Paths of the libraries `stem.so*` that `/proc/PID/maps` names, each once, sorted."""
    pattern = re.compile(rf"\s(/.*/{re.escape(stem)}\.so[.\d]*)$", re.MULTILINE)
    return sorted(set(pattern.findall(text)))


def cuda_version(number: int) -> str:
    """`major.minor` of CUDA's own integer, 12040 -> 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def gpus_of_driver() -> tuple[list[Gpu], str | None]:
    """GPUs that CUDA offers this process, and the newest CUDA that the driver speaks; asked of the driver itself.

    `CUDA_VISIBLE_DEVICES` counts here, and a Jetson answers too, which `nvidia-smi` does not. No Python package is
    needed and no context is made.
    """
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1")
        number = ctypes.c_int()
        if cuda.cuDriverGetVersion(ctypes.byref(number)) or not number.value:
            return [], None
        speaks = cuda_version(number.value)
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(number)):
            return [], speaks
        return [_gpu(cuda, index) for index in range(number.value)], speaks
    except (OSError, AttributeError):
        return [], None


def _gpu(cuda: ctypes.CDLL, index: int) -> Gpu:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    cuda.cuDeviceGet(ctypes.byref(device), index)
    cuda.cuDeviceGetName(name, _NAME_BYTES, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(major), _CU_COMPUTE_MAJOR, device)
    cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CU_COMPUTE_MINOR, device)
    return Gpu(name=name.value.decode(errors="replace"), compute_capability=f"{major.value}.{minor.value}")
