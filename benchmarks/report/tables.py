"""The tables of a report: what is printed of its JSON, as text in rows. Markdown and page lay out the same tables."""

from __future__ import annotations

from dataclasses import dataclass, field

from hidemia.benchmarks.report.document import NetworkCost, Report, Timing
from hidemia.benchmarks.report.summary import PERCENTILES, per_second, summary

PAPER_FACTOR = 3
PAPER = {
    "HiNet": (152.17, 4.05),
    "LightIH": (38.04, 1.01),
    "HiDDeN": (87.49, 0.58),
    "DeepStega": (73.30, 0.49),
    "DeepStega, 24 prepared maps": (73.30, 0.49),
}
"""Table 7 of the paper: GFLOPs and millions of parameters. DeepStega stands twice: as published it does not fit."""


@dataclass(frozen=True)
class Table:
    """Rows of text below a head; columns that are named hold numbers, to the right."""

    head: list[str]
    rows: list[list[str]]
    numbers: frozenset[int] = field(default_factory=frozenset)

    @classmethod
    def of(cls, head: str, rows: list[list[str]], text_columns: int = 1) -> Table:
        """A table whose head is given as one text, and whose columns after the first few hold numbers."""
        names = [name.strip() for name in head.split("|")]
        return cls(names, rows, frozenset(range(text_columns, len(names))))


def targets(report: Report) -> Table:
    """Target, measured, verdict."""
    rows = []
    for row in report.targets:
        measured = "-" if row.measured is None else f"{row.measured:g}"
        verdict = {True: "holds", False: "missed", None: f"not measured: {row.reason}"}[row.holds]
        rows.append([row.id, verdict, measured, f"{row.target:g}", row.unit, MEANING.get(row.id, "")])
    return Table(["id", "verdict", "measured", "target", "unit", "what"], rows, frozenset({2, 3}))


MEANING = {
    "hide_fp32_ort": "hide, ONNX Runtime: times as fast as the plain export, at least",
    "hide_fp32_best": "hide, best engine, against the plain export in ONNX Runtime, at least",
    "hide_int8_best": "hide in INT8, best engine, against the same, at least",
    "modc_vs_branches": "analyzer: our MoDC against six branches, best engines, at least",
    "modc_vs_plain": "analyzer: time over that of plain convolutions, at most",
    "peak_share": "hide: share of the machine's matrix-product rate, at least",
    "trip_overhead": "PNG, HTTP and copies on top of the engines, at most",
    "batch8": "server: images a second at batch 8 against batch 1, at least",
    "startup_s": "import and load of a client, at most",
    "startup_mib": "resident memory after that, at most",
    "trt_fp16": "TensorRT FP16 against ONNX Runtime CUDA FP32, at least",
}


def environment(report: Report) -> Table:
    """The machine."""
    found = report.environment
    rows = [
        ["processor", f"{found.processor}, {found.machine}"],
        ["cores, threads of a run", f"{found.cores}, {found.threads}"],
        ["memory", "not told" if found.memory_mib is None else f"{found.memory_mib / 1024:.1f} GiB"],
        ["GPU", ", ".join(found.gpus) or "none"],
        ["clock", f"governor {found.governor}" if found.governor else "governor not told"],
        ["load before", f"{found.load_before:g}"],
        ["system", f"{found.os}, Python {found.python}"],
        ["packages", ", ".join(f"{name} {version}" for name, version in found.versions.items())],
    ]
    return Table(["machine", ""], rows)


def limits(report: Report) -> Table:
    """What the machine can do at best."""
    rows = [
        [str(limit.threads), f"{limit.product_gflops:.0f}", f"{limit.copy_gb_s:.1f}", f"{limit.unsteadiness:.2f}"]
        for limit in report.limits
    ]
    return Table.of("threads | matrix product, GFLOP/s | copy, GB/s read and written | unsteadiness", rows, 0)


def networks(report: Report) -> Table:
    """Both counts of every network."""
    rows = []
    for cost in report.networks:
        if cost.multiply_adds is None or cost.graph_multiply_adds is None:
            rows.append([cost.network, cost.part, "", "", "", cost.reason, "", ""])
            continue
        apart = cost.graph_multiply_adds - cost.multiply_adds
        rows.append(
            [
                cost.network,
                cost.part,
                f"{cost.parameters:,}",
                _giga(cost.multiply_adds),
                _giga(cost.graph_multiply_adds),
                "to the unit" if not apart else f"{apart:+,}",
                _giga(cost.others),
                _mib(cost.activation_bytes),
            ]
        )
    head = "network | part | parameters | GMACs, fvcore | GMACs, graph | agree | norms and pools, G | activations, MiB"
    return Table(head.split(" | "), rows, frozenset({2, 3, 4, 6, 7}))


def table7(report: Report) -> Table:
    """The paper's table of hiders, and what it is made of."""
    rows = []
    for name, (gflops, millions) in PAPER.items():
        parts = {cost.part: cost for cost in report.networks if cost.network == name}
        whole = parts.get("one direction, whole") or parts.get("hide + recover")
        if whole is None or whole.multiply_adds is None:
            reason = whole.reason if whole else "not counted in this run"
            rows.append([name, f"{gflops:.2f}", f"{millions:.2f}", *[""] * 6, reason])
            continue
        counted = (whole.multiply_adds + (whole.others or 0)) / 1e9
        got = PAPER_FACTOR * counted
        # The paper's last digit is now rounded and now cut off.
        same = abs(got - gflops) < 0.01
        rows.append(
            [
                name,
                f"{gflops:.2f}",
                f"{millions:.2f}",
                f"{(whole.parameters or 0) / 1e6:.2f}",
                f"{counted:.3f}",
                f"{got:.2f}",
                *(_giga(_multiply_adds(parts.get(part))) for part in ("hide", "recover", "hide + recover")),
                "the same" if same else f"{got - gflops:+.2f}",
            ]
        )
    head = "hider | paper, G | paper, M | M | G | G times 3 | hide, G | recover, G | both, G | against the paper"
    return Table(head.split(" | "), rows, frozenset(range(1, 9)))


def graphs(report: Report) -> Table:
    """What is deployed."""
    rows = [
        [
            f"{graph.role}/{graph.path}",
            f"{graph.size_bytes / 2**20:.2f}",
            f"{graph.numbers:,}",
            _giga(graph.multiply_adds),
            _giga(graph.flops),
            _mib(graph.activation_bytes),
            _mib(graph.traffic_bytes),
        ]
        for graph in report.graphs
    ]
    return Table.of("file | MiB | numbers stored | GMACs | GFLOPs | activations, MiB | traffic, MiB", rows)


def latency(report: Report, verb: str) -> Table:
    """Every rival of a verb: accuracy, times, memory, and its share of the machine's limits."""
    rows = []
    for timing in report.timings:
        if timing.verb != verb or timing.paper:
            continue
        name = [timing.graph or timing.rival, timing.backend]
        where = [timing.precision, str(timing.batch), str(timing.threads)]
        if not timing.times_ms:
            rows.append([*name, "", timing.reason, *where, *[""] * (len(LATENCY_HEAD) - 7)])
            continue
        found = summary(timing.times_ms)
        rows.append(
            [
                *name,
                f"{found.median:.1f}",
                _agreement(timing),
                *where,
                *(f"{value:.1f}" for value in found.percentiles[1:]),
                f"{found.most:.1f}",
                f"{found.mean:.1f}",
                f"{found.spread_percent:.1f}",
                str(found.runs),
                f"{per_second(timing.batch, timing.times_ms):.2f}",
                *(_number(value, ".0f") for value in (timing.load_ms, timing.first_ms)),
                *(_number(value, ".0f") for value in (timing.resident_mib, timing.peak_mib)),
                *shares(report, timing),
            ]
        )
    return Table(LATENCY_HEAD, rows, frozenset({2, *range(5, len(LATENCY_HEAD))}))


def papers(report: Report) -> Table:
    """The networks of the papers, as published, in one engine."""
    rows = []
    for timing in report.timings:
        if not timing.paper:
            continue
        if not timing.times_ms:
            rows.append([timing.rival, timing.verb, "", "", "", timing.reason])
            continue
        found = summary(timing.times_ms)
        times = f"{found.median:.0f}", f"{found.most:.0f}", f"{found.spread_percent:.1f}"
        rows.append([timing.rival, timing.verb, *times, _number(timing.peak_mib, ".0f")])
    return Table.of("network | verb | p50 ms | max ms | spread % | peak MiB", rows, 2)


LATENCY_HEAD = [
    "rival", "engine", "p50 ms", "equal to PyTorch FP32", "precision", "batch", "threads",
    *(f"p{p} ms" for p in PERCENTILES[1:]), "max", "mean", "spread %", "runs", "images/s", "load ms", "first ms",
    "resident MiB", "peak MiB", "% of product", "% of copy",
]  # fmt: skip


def shares(report: Report, timing: Timing) -> tuple[str, str]:
    """A graph's rate as a share of the matrix product's and of the copy's; empty for what is no file of the bundle."""
    graph = next((graph for graph in report.graphs if graph.path == timing.graph), None)
    limit = next((limit for limit in report.limits if limit.threads == timing.threads), None)
    if graph is None or limit is None:
        return "", ""
    seconds = summary(timing.times_ms).median / 1e3
    product = 2 * graph.multiply_adds * timing.batch / seconds / 1e9 / limit.product_gflops
    copy = graph.traffic_bytes * timing.batch / seconds / 1e9 / limit.copy_gb_s
    return f"{100 * product:.0f}", f"{100 * copy:.0f}"


def trip(report: Report) -> Table:
    """The trip by stage."""
    total = sum(summary(stage.times_ms).median for stage in report.stages)
    rows = []
    for stage in report.stages:
        found = summary(stage.times_ms)
        times = (found.median, found.percentiles[2], found.most, found.spread_ms)
        share = f"{100 * found.median / total:.1f}"
        rows.append([stage.name, stage.place, *(f"{value:.2f}" for value in times), share])
    if rows:
        rows.append(["sum of medians", "", f"{total:.2f}", "", "", "", "100"])
    return Table.of("stage | where | median ms | p95 ms | max ms | spread ms | share %", rows, 2)


def quality(report: Report) -> Table:
    """What a model reaches on its test split, beside what it costs."""
    rows = []
    for model in report.models:
        figures = model.figures
        task = next((f"{name} {figures[name]:.3f}" for name in ("dsc", "balanced_accuracy") if name in figures), "")
        rows.append(
            [
                model.name,
                _giga(model.multiply_adds),
                *(_figure(figures, name, ".1f") for name in ("stego_psnr_db", "stego_psnr_min_db")),
                _figure(figures, "stego_ssim", ".3f"),
                *(_figure(figures, name, ".1f") for name in ("reply_psnr_db", "reply_psnr_min_db")),
                _figure(figures, "reply_ssim", ".3f"),
                task,
                f"{figures.get('n_images', '')}",
            ]
        )
    head = "model | GMACs, trip | stego dB | worst | SSIM | reply dB | worst | SSIM | task | test images"
    return Table.of(head, rows)


def visibility(report: Report) -> Table:
    """Distance from the cover over the simulated trips."""
    rows = []
    for seen in report.visibility:
        total = sum(seen.levels)
        within = [sum(seen.levels[: most + 1]) / total for most in (0, 1, 2, 4, 8)]
        mean, worst = sum(seen.psnr_db) / len(seen.psnr_db), min(seen.psnr_db)
        ssim = sum(seen.ssim) / len(seen.ssim)
        rows.append(
            [
                seen.photo,
                str(len(seen.psnr_db)),
                f"{mean:.1f}",
                f"{worst:.1f}",
                f"{ssim:.3f}",
                *(f"{100 * share:.1f}" for share in within),
                str(len(seen.levels) - 1),
            ]
        )
    head = "photo | trips | dB | worst | SSIM | unchanged % | within 1 % | 2 % | 4 % | 8 % | largest"
    return Table.of(head, rows)


def failures(report: Report) -> Table:
    """Everything that was to be there and is not, with its reason."""
    rows = [[f"target {row.id}", row.reason or ""] for row in report.targets if row.measured is None]
    rows += [[f"{cost.network}, {cost.part}", cost.reason] for cost in report.networks if cost.reason]
    rows += [[timing.key, timing.reason] for timing in report.timings if not timing.times_ms]
    if report.power.reason:
        rows.append(["power", report.power.reason])
    return Table(["what", "why not"], [*rows, *([name, why] for name, why in report.absent.items())])


def power(report: Report) -> Table:
    """What the machine draws."""
    found = report.power
    if found.idle_w is None or found.busy_w is None or found.joules_per_trip is None:
        return Table(["power", ""], [])
    rows = [["meter", found.source], ["at rest", f"{found.idle_w:.2f} W"], ["during trips", f"{found.busy_w:.2f} W"]]
    return Table(["power", ""], [*rows, ["energy of a trip", f"{found.joules_per_trip:.3f} J, rest included"]])


def _agreement(timing: Timing) -> str:
    if timing.agreement is None:
        return "computes something else: for its time alone"
    unit = "of 255" if timing.verb != "recover" else "probability"
    return f"{100 * timing.agreement.identical_share:.3f} %, largest {timing.agreement.largest:.2g} {unit}"


def _multiply_adds(cost: NetworkCost | None) -> int | None:
    return None if cost is None else cost.multiply_adds


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _giga(number: int | None) -> str:
    return "" if number is None else f"{number / 1e9:.3f}"


def _mib(size: int | None) -> str:
    return "" if size is None else f"{size / 2**20:.1f}"


def _figure(figures: dict[str, float | int | str], name: str, form: str) -> str:
    value = figures.get(name)
    return format(value, form) if isinstance(value, float) else ""
