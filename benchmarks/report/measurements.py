"""What was counted and measured, typed: the rows of report.json."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Times = list[float]
"""Milliseconds of every run that counted, in their order; none is left out."""

Count = Annotated[int, Meta(ge=0)]


class Target(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the speed table; see `hidemia.benchmarks.targets`.

    ``measured`` and ``holds`` are None where this machine or bundle cannot tell, with the reason.

    Attributes:
        spread: Half of the range in which 90 % of `measured` lie when rounds are drawn anew from those there were.
    """

    id: str
    target: float
    measured: float | None
    unit: str
    holds: bool | None
    reason: str | None = None
    spread: float | None = None


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
        identical_share: Of the values of a photo, in the colour with the least, or of the pixels of a mask.
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
