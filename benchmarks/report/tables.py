"""The other tables of a report: targets, what the model reaches, how visible it is, the machine, and what is missing.

What is counted is in `costs`, what is timed in `times`. Markdown and page lay out the same tables.
"""

from __future__ import annotations

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.table import Table, giga


def targets(report: Report) -> Table:
    """Target, measured, verdict."""
    rows = []
    for row in report.targets:
        measured = "-" if row.measured is None else f"{row.measured:g}"
        spread = "-" if row.spread is None else f"{row.spread:g}"
        verdict = {True: "holds", False: "missed", None: f"not measured: {row.reason}"}[row.holds]
        rows.append([row.id, verdict, measured, spread, f"{row.target:g}", row.unit, MEANING.get(row.id, "")])
    return Table(["id", "verdict", "measured", "spread", "target", "unit", "what"], rows, frozenset({2, 3, 4}))


MEANING = {
    "hide_fp32_ort": "hide, ONNX Runtime: times as fast as the plain export, at least",
    "hide_fp32_best": "hide, best engine, against the plain export in ONNX Runtime, at least",
    "hide_int8_best": "hide in INT8, best engine, against the same, at least",
    "modc_vs_branches": "analyzer of busi: our MoDC against six branches, best engines, at least",
    "modc_vs_plain": "analyzer of busi: time over that of plain convolutions, at most",
    "peak_share": "hide: share of the machine's matrix-product rate, at least",
    "trip_overhead": "PNG, HTTP and copies on top of the engines, at most",
    "batch8": "server: images a second at batch 8 against batch 1, at least",
    "startup_s": "import and load of a client, at most",
    "startup_mib": "resident memory after that, at most",
    "trt_fp16": "TensorRT FP16 against ONNX Runtime CUDA FP32, at least",
}


TASKS = {"dsc": "Dice", "balanced_accuracy": "balanced accuracy"}


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


def quality(report: Report) -> Table:
    """What a model reaches on its test split, beside what it costs."""
    rows = []
    for model in report.models:
        figures = model.figures
        task = next((f"{words} {figures[name]:.3f}" for name, words in TASKS.items() if name in figures), "")
        rows.append(
            [
                model.name,
                giga(model.multiply_adds),
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


def _figure(figures: dict[str, float | int | str], name: str, form: str) -> str:
    value = figures.get(name)
    return format(value, form) if isinstance(value, float) else ""
