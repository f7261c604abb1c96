"""report.json, typed: the one truth. The Markdown and the page are rendered from it and hold nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from hidemia.benchmarks.report.findings import Attacks, Control, Detection, Exposure, Learned
from hidemia.benchmarks.report.measurements import (
    Count,
    GraphFile,
    Limit,
    Model,
    NetworkCost,
    Picture,
    Power,
    Stage,
    Target,
    Timing,
    Visibility,
)
from hidemia.runtime import document
from hidemia.runtime.errors import DataError, HidemiaError

# With what attackers find, which is written on its own as well, by `hidemia.benchmarks.attacks`.
__all__ = [
    "FILE_NAME",
    "SCHEMA_VERSION",
    "Attacks",
    "Control",
    "Detection",
    "Environment",
    "Exposure",
    "Learned",
    "Method",
    "Report",
    "encode",
    "read",
]

FILE_NAME = "report.json"
SCHEMA_VERSION = 1


class Environment(Struct, frozen=True, kw_only=True):
    """The machine, as far as it decides what is measured on it.

    Attributes:
        cores: Those that the run could use.
        memory_mib: Of the machine; None where the system does not tell.
        governor: What decides the clock, as Linux names it; None where the system does not tell.
        load_before: Runnable processes, averaged over the minute before; above 0.5, something else was running.
    """

    processor: str
    machine: str
    cores: Count
    memory_mib: Count | None
    os: str
    python: str
    versions: dict[str, str]
    gpus: list[str]
    governor: str | None
    threads: Count
    load_before: float


class Method(Struct, frozen=True, kw_only=True):
    """How it was measured.

    Attributes:
        quick: Fewer rounds, batches and thread counts.
        rounds: Of the speed table.
        warm_up: Rounds of a group that do not count.
        images: `simulated` or `real`.
        code_sha256: Of the sources of the four layers.
    """

    quick: bool
    rounds: Count
    warm_up: Count
    images: Literal["simulated", "real"]
    image_size_px: Count
    date: str
    seconds: float
    code_sha256: str
    counting: str


class Report(Struct, frozen=True, kw_only=True):
    """The whole of report.json.

    Attributes:
        times_ms: What the speed table was made of: medians by rival.
        absent: Section -> why it is not there.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    image_size_px: Count
    targets: list[Target]
    times_ms: dict[str, dict[str, float]]
    environment: Environment
    method: Method
    limits: list[Limit] = []
    networks: list[NetworkCost] = []
    graphs: list[GraphFile] = []
    timings: list[Timing] = []
    stages: list[Stage] = []
    power: Power = Power(reason="not tried")
    models: list[Model] = []
    visibility: list[Visibility] = []
    pictures: list[Picture] = []
    attacks: Attacks | None = None
    absent: dict[str, str] = {}


def read(path: Path) -> Report:
    """Read a report.

    Raises:
        DataError: No such file, or none that this version reads.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a {FILE_NAME}, got {error.strerror}; name one that bench wrote") from None
    try:
        return document.decode(
            data, Report, schema_version=SCHEMA_VERSION, name=str(path), mend="measure again with this version"
        )
    except HidemiaError as error:
        raise DataError(str(error)) from None


def encode(report: Report) -> bytes:
    """The bytes of report.json: fields in the order above, two spaces."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
