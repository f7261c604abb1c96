"""The machine that a bundle meets: what is installed and built in, gathered without importing an engine.

What a machine lacks is None or empty, never an error.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from hidemia.runtime import nvidia
from hidemia.runtime.nvidia import Gpu

__all__ = ["ENGINES", "Environment", "gather", "providers"]

ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
"""All of them install the one import package onnxruntime; the last one installed wins, file by file."""

TENSORRTS = ("tensorrt", "tensorrt-cu12", "tensorrt-cu13", "tensorrt-cu11")

ENGINES = (*ONNXRUNTIMES, "openvino", *TENSORRTS, "tensorrt-lean", "cuda-python", "cuda-bindings", "pycuda")
"""The packages that `Environment.engines` gives the versions of."""

_CUDA_RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
_LIBRARY_FOLDERS = ("usr/lib/aarch64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/local/tensorrt/lib")
_SMI_SECONDS = 10


class Environment(Struct, frozen=True, kw_only=True):
    """A machine, as far as it decides what can run on it.

    Attributes:
        os: `Linux 6.8.0-45-generic`.
        architecture: `x86_64` or `aarch64`.
        cpu: Its model, as the system names it.
        cores: Those that this process may use.
        python: Version.
        engines: Package -> version, of those in `ENGINES` that are installed.
        tensorrt: Version of the TensorRT that `import tensorrt` gives; None without one.
        cuda_runtime: `12.4`, of the runtime in use, in the packages or on the machine; in this order.
        cuda_driver: The newest CUDA that the driver speaks.
        driver: Version of the NVIDIA driver.
        gpus: In CUDA's order.
        l4t: Jetson Linux release, `36.4.3`.
        jetpack: JetPack of that release, where it is known.
        board: Model in the device tree.
        nvinfer_loaded: Every libnvinfer that this process has mapped.
        nvinfer_found: Every libnvinfer on the machine, by its real path, each once.
    """

    os: str
    architecture: str
    cpu: str
    cores: int
    python: str
    engines: dict[str, str] = {}
    tensorrt: str | None = None
    cuda_runtime: str | None = None
    cuda_driver: str | None = None
    driver: str | None = None
    gpus: list[Gpu] = []
    l4t: str | None = None
    jetpack: str | None = None
    board: str | None = None
    nvinfer_loaded: list[str] = []
    nvinfer_found: list[str] = []

    @property
    def gpu(self) -> Gpu | None:
        """The first GPU, on which an engine runs unless told otherwise."""
        return self.gpus[0] if self.gpus else None


def gather(root: Path = Path("/")) -> Environment:
    """Look at this machine.

    Args:
        root: The folder that stands for `/` in every file that is read.
    """
    engines = {name: found for name in ENGINES if (found := package_version(name))}
    gpus, cuda_driver = nvidia.gpus_of_driver()
    driver = nvidia.kernel_driver(_text(root / "proc/driver/nvidia/version"))
    if driver is None or not gpus:
        seen, of_smi = nvidia.gpus_of_smi(_smi())
        gpus, driver = gpus or seen, driver or of_smi
    l4t = nvidia.l4t_release(_text(root / "etc/nv_tegra_release"))
    maps = _text(root / "proc/self/maps")
    return Environment(
        os=f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        cpu=_cpu(root),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        python=platform.python_version(),
        engines=engines,
        tensorrt=_tensorrt(engines),
        cuda_runtime=_cuda_runtime(root, maps),
        cuda_driver=cuda_driver,
        driver=driver,
        gpus=gpus,
        l4t=l4t,
        jetpack=nvidia.JETPACKS.get(l4t or ""),
        board=_text(root / "proc/device-tree/model").strip("\0\n ") or None,
        nvinfer_loaded=[
            path
            for stem in ("libnvinfer", "libnvinfer_lean", "libnvinfer_dispatch")
            for path in nvidia.mapped_libraries(maps, stem)
        ],
        nvinfer_found=sorted({str(file.resolve()) for folder in _folders(root) for file in _nvinfers(folder)}),
    )


def providers() -> list[str]:
    """Execution providers of the installed ONNX Runtime, which this imports; none when there is no ONNX Runtime.

    Raises:
        ImportError: It is installed and broken.
    """
    if not any(package_version(name) for name in ONNXRUNTIMES):
        return []
    found: list[str] = import_module("onnxruntime").get_available_providers()
    return found


def package_version(name: str) -> str | None:
    """Version of an installed package, without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str:
    """A file's text; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _smi() -> str:
    try:
        done = subprocess.run(  # noqa: S603  every argument is ours
            ["nvidia-smi", *nvidia.SMI_QUERY],  # noqa: S607  where it lies differs between distributions
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SMI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cpu(root: Path) -> str:
    text = _text(root / "proc/cpuinfo")
    found = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _tensorrt(engines: dict[str, str]) -> str | None:
    loaded = getattr(sys.modules.get("tensorrt"), "__version__", None)
    return loaded or next((engines[name] for name in TENSORRTS if name in engines), None)


def _cuda_runtime(root: Path, maps: str) -> str | None:
    for path in nvidia.mapped_libraries(maps, "libcudart"):
        number = ctypes.c_int()
        try:
            if not ctypes.CDLL(path).cudaRuntimeGetVersion(ctypes.byref(number)):
                return nvidia.cuda_version(number.value)
        except (OSError, AttributeError):
            continue
    for name in _CUDA_RUNTIMES:
        if found := package_version(name):
            return ".".join(found.split(".")[:2])
    toolkit = root / "usr/local/cuda"
    return nvidia.toolkit_version(_text(toolkit / "version.json") or _text(toolkit / "version.txt"))


def _folders(root: Path) -> Iterator[Path]:
    """Where TensorRT's libraries lie: the system's folders, those of LD_LIBRARY_PATH, the wheels'."""
    yield from (root / folder for folder in _LIBRARY_FOLDERS)
    yield from (Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder)
    packages = Path(sysconfig.get_path("platlib"))
    yield from (packages / folder for folder in ("tensorrt_libs", "tensorrt", "tensorrt_lean_libs"))


def _nvinfers(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.glob("libnvinfer.so*")
    except OSError:
        return
