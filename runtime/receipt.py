"""What a folder of TensorRT plans says about itself: `receipt.json`, written where and when they were built."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from hidemia.runtime import document
from hidemia.runtime.manifest import Count, Precision, Sha256, Verb

__all__ = ["FILE_NAME", "SCHEMA_VERSION", "HardwareCompatibility", "Plan", "Receipt", "dump", "load"]

FILE_NAME = "receipt.json"
SCHEMA_VERSION = 1

HardwareCompatibility: TypeAlias = Literal["none", "same_compute_capability", "ampere_plus"]


class Plan(Struct, frozen=True, kw_only=True):
    """One plan: a pure TensorRT engine, made from one graph of the bundle.

    Attributes:
        path: File name, in the receipt's own folder.
        onnx_path: The graph it was built from, as the manifest names it.
        onnx_sha256: Hash of that graph's bytes.
        precision: As asked for.
        precision_achieved: Layers by data type, as the engine inspector counted them.
        batch: Fewest, likeliest and most images of one run.
        hardware_compatibility: Which other GPUs it was built for; `none` is the exact GPU.
        version_compatible: Built for later TensorRT of the same major as well.
        flags: TensorRT's names of the builder flags that were set, sorted.
        workspace_mib: Most memory that the builder could use for one layer.
        tf32: Whether TF32 was allowed.
    """

    path: Annotated[str, Meta(min_length=1)]
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=1, le=2**34)]
    verb: Verb
    onnx_path: Annotated[str, Meta(min_length=1)]
    onnx_sha256: Sha256
    precision: Precision
    precision_achieved: dict[str, int]
    batch: tuple[Count, Count, Count]
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False
    flags: list[str] = []
    workspace_mib: Count
    tf32: bool = False

    def __post_init__(self) -> None:
        if PurePosixPath(self.path).name != self.path or "\\" in self.path or ":" in self.path:
            raise ValueError(f"Expected a file name, got {self.path!r}")
        if not self.batch[0] <= self.batch[1] <= self.batch[2]:
            raise ValueError(f"Expected a batch that grows, got {list(self.batch)}")


class Receipt(Struct, frozen=True, kw_only=True):
    """The whole of `receipt.json`: the machine that built, and each plan it built.

    Attributes:
        architecture: `x86_64` or `aarch64`.
        tensorrt: `tensorrt.__version__`.
        cuda: CUDA runtime, `12.4`.
        driver: NVIDIA driver; None on a Jetson without one of its own.
        gpu: The GPU's name, as the driver calls it.
        compute_capability: `8.9`.
        l4t: Jetson Linux release, `36.4.3`; None elsewhere.
        timing_cache_sha256: Hash of the timing cache after the build; None without one.
    """

    schema_version: int = SCHEMA_VERSION
    os: str
    architecture: str
    tensorrt: str
    cuda: str
    driver: str | None
    gpu: str
    compute_capability: str
    l4t: str | None
    timing_cache_sha256: Sha256 | None
    hidemia: str
    plans: Annotated[list[Plan], Meta(min_length=1)]


def load(data: bytes, name: str = FILE_NAME) -> Receipt:
    """Parse and check a receipt.

    Args:
        data: The JSON text. Keys that are not known are allowed.
        name: Its path in errors.

    Raises:
        BundleError: Not JSON, a key missing, doubled or of another type, or written for another schema.
    """
    return document.decode(
        data, Receipt, schema_version=SCHEMA_VERSION, name=name, mend="build the plans again: hidemia build"
    )


def dump(receipt: Receipt) -> bytes:
    """Write a receipt: keys sorted, two spaces, a newline at the end."""
    return document.encode(receipt)
