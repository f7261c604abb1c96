"""report.json, typed: the one truth. The Markdown and the page are rendered from it and hold nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from hidemia.runtime import document
from hidemia.runtime.errors import DataError, HidemiaError

FILE_NAME = "report.json"
SCHEMA_VERSION = 1

Times = list[float]
"""Milliseconds of every run that counted, in their order; none is left out."""

Count = Annotated[int, Meta(ge=0)]


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the speed table; see `hidemia.benchmarks.targets`.

    ``measured`` and ``holds`` are None where this machine or bundle cannot tell, with the reason.
    """

    id: str
    target: float
    measured: float | None
    unit: str
    holds: bool | None
    reason: str | None = None


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


class Limit(Struct, frozen=True, kw_only=True):
    """What the machine can do at best, measured beside the engines on as many threads.

    Attributes:
        unsteadiness: Median over best of the matrix product: 1 where nothing else was running.
    """

    threads: Count
    product_gflops: float
    copy_gb_s: float
    unsteadiness: float


class NetworkCost(Struct, frozen=True, kw_only=True):
    """See `hidemia.benchmarks.cost.networks.Count`; a network that was not counted has a reason and no figures."""

    network: str
    part: str
    parameters: Count | None = None
    multiply_adds: Count | None = None
    graph_multiply_adds: Count | None = None
    others: Count | None = None
    activation_bytes: Count | None = None
    reason: str = ""


class GraphFile(Struct, frozen=True, kw_only=True):
    """A file of the bundles and what one run of it costs at batch 1; see `hidemia.benchmarks.cost.graph`."""

    role: str
    verb: str
    path: str
    precision: str
    sha256: str
    size_bytes: Count
    numbers: Count
    multiply_adds: Count
    flops: Count
    activation_bytes: Count
    traffic_bytes: Count


class Agreement(Struct, frozen=True, kw_only=True):
    """How far an output is from PyTorch's float32 on the same input, in this run.

    Attributes:
        identical_share: Of the values of a photo, or of the pixels of a mask.
        largest: Difference: grey levels of a photo, probability of a result.
    """

    identical_share: float
    largest: float


class Timing(Struct, frozen=True, kw_only=True):
    """One verb in one engine: every run's time, or why there is none.

    Attributes:
        verb: hide, analyze or recover.
        rival: `bundle`, or what it is compared with.
        graph: A file of the bundle; empty for rivals that have none.
        load_ms: From nothing but an imported engine to one that is ready.
        first_ms: The first run, in which engines finish what they put off.
        resident_mib: Of a process of its own, once loaded.
        peak_mib: The most it had until its last run.
        paper: Whether it is a network of the papers, with weights drawn at random.
    """

    verb: str
    rival: str
    backend: str
    precision: str
    graph: str
    batch: Count
    threads: Count
    times_ms: Times = []
    load_ms: float | None = None
    first_ms: float | None = None
    resident_mib: float | None = None
    peak_mib: float | None = None
    agreement: Agreement | None = None
    reason: str = ""
    paper: bool = False

    @property
    def key(self) -> str:
        """What it is, in words; the same in two reports for what can be compared."""
        what = self.graph or f"{self.rival} {self.precision}"
        return f"{self.verb}, {what}, {self.backend}, batch {self.batch}, {self.threads} threads"


class Stage(Struct, frozen=True, kw_only=True):
    """A part of the trip: its time in every trip, and where it passes."""

    name: str
    place: Literal["device", "wire", "server"]
    times_ms: Times


class Power(Struct, frozen=True, kw_only=True):
    """What the machine draws; or why that is not known.

    Attributes:
        source: Which meter, and what it covers.
    """

    source: str = ""
    idle_w: float | None = None
    busy_w: float | None = None
    joules_per_trip: float | None = None
    reason: str = ""


class Visibility(Struct, frozen=True, kw_only=True):
    """How far a photo is from the cover, over the simulated trips of this run.

    Attributes:
        photo: stego or reply.
        levels: Values of all photos by their distance from the cover's: 0, 1, 2, ... grey levels.
    """

    photo: str
    psnr_db: list[float]
    ssim: list[float]
    levels: list[Count]


class Model(Struct, frozen=True, kw_only=True):
    """A model with figures on a test split: a point of the plots of cost against quality.

    Attributes:
        figures: As `hidemia evaluate --json` writes them, without the score of every image.
        multiply_adds: Of hide, analyze and recover as deployed, together.
    """

    name: str
    figures: dict[str, float | int | str]
    multiply_adds: Count


class Picture(Struct, frozen=True, kw_only=True):
    """A picture of one simulated trip: a PNG (base64 in the file) and what it shows."""

    name: str
    caption: str
    png: bytes


class Detection(Struct, frozen=True, kw_only=True):
    """How well one detector, trained on photos of one kind, finds another kind; lists have an entry for each seed.

    Attributes:
        detector: classical or convolutional.
        knowledge: What the attacker knows; `control` for what must be found, or must not.
        trained_on, target: Kinds of photos, such as stego or reply.
        pairs: That it was trained on.
        error: (False alarms + missed) / 2 at the threshold chosen on val: 0.5 is guessing.
        found: Share that is found at 1 % false alarms.
        curve: The ROC curve of the first seed: false alarms, found.
    """

    detector: Literal["classical", "convolutional"]
    knowledge: str
    trained_on: str
    target: str
    pairs: Count
    error: list[float]
    auc: list[float]
    found: list[float]
    curve: list[tuple[float, float]] = []


class Learned(Struct, frozen=True, kw_only=True):
    """The classical detector's error after some pairs, an entry for each seed."""

    hider: str
    target: str
    pairs: Count
    error: list[float]


class Exposure(Struct, frozen=True, kw_only=True):
    """What an attacker takes out of photos.

    Attributes:
        attack: What the attacker has and does.
        reveals: secret or result.
        figures: Of what is taken out, by name.
        beside: The same of what needs no photo at all.
    """

    attack: str
    reveals: str
    figures: dict[str, float]
    beside: dict[str, float] = {}


class Control(Struct, frozen=True, kw_only=True):
    """What must come out before any other figure is believed."""

    name: str
    expected: str
    got: str
    held: bool


class Attacks(Struct, frozen=True, kw_only=True):
    """What an attacker sees; see `hidemia.benchmarks.attacks`.

    Attributes:
        hider: Whose photos are attacked.
        method: How, in sentences: data, numbers of photos, budget.
        absent: What is not there -> why.
    """

    hider: str
    date: str
    seconds: float
    machine: str
    quick: bool
    method: list[str]
    controls: list[Control]
    detections: list[Detection]
    learned: list[Learned]
    exposures: list[Exposure]
    absent: dict[str, str] = {}


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
