"""The plots of a report as SVG: drawn by matplotlib, without a display, and the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.findings import Attacks
from hidemia.benchmarks.report.measurements import Timing
from hidemia.benchmarks.report.summary import per_second, summary

# Ids are hashed with a random salt unless one is set; text stays text, in a font of whoever reads.
STYLE = {
    "svg.hashsalt": "hidemia",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "axes.edgecolor": "#7a8490",
    "text.color": "#1c2430",
    "axes.labelcolor": "#1c2430",
    "xtick.color": "#1c2430",
    "ytick.color": "#1c2430",
    "figure.constrained_layout.use": True,
}
WIDTH = 4.9  # inches: narrow enough to be read on a phone
INK, ACCENT, GREY, SERVER, WIRE = "#1c2430", "#2a6fb0", "#9aa3ad", "#cc702a", "#96968f"
MARKERS = "osD^v"  # a hider each
PLACES = {"device": ACCENT, "wire": WIRE, "server": SERVER}


def latency(report: Report, verb: str) -> str | None:
    """Every run of every rival at batch 1 and all threads, with its median; None without any."""
    shown = [timing for timing in _measured(report, verb) if _main(report, timing)]
    if not shown:
        return None
    shown.sort(key=lambda timing: -summary(timing.times_ms).median)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, timing in enumerate(shown):
            colour = ACCENT if timing.graph else GREY
            # Runs are spread over the row in their order, so that a drift can be seen.
            rows = [row - 0.3 + 0.6 * (i + 0.5) / len(timing.times_ms) for i in range(len(timing.times_ms))]
            axes.plot(timing.times_ms, rows, "o", color=colour, markersize=3, alpha=0.7, markeredgewidth=0)
            axes.plot([summary(timing.times_ms).median] * 2, [row - 0.38, row + 0.38], color=INK, linewidth=1.6)
        axes.set_yticks(range(len(shown)), [_label(timing) for timing in shown])
        axes.set_xlim(left=0)
        axes.set_xlabel(f"ms, {report.environment.threads} threads, batch 1; a dot a run, in order; line: median")

    return _svg(draw, 0.75 + 0.34 * len(shown))


def stages(report: Report) -> str | None:
    """The trip by stage; None where it was not split."""
    if not report.stages:
        return None
    names = [stage.name for stage in report.stages]
    medians = [summary(stage.times_ms).median for stage in report.stages]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = 0.0
        for row, (stage, median) in enumerate(zip(report.stages, medians, strict=True)):
            axes.barh(row, max(median, 0), left=left, color=PLACES[stage.place], height=0.72)
            axes.text(left + max(median, 0), row, f" {median:.1f}", va="center", fontsize=8)
            left += max(median, 0)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, left * 1.12)
        axes.set_xlabel("ms since the scan was read (medians)")
        _legend(axes, PLACES)

    return _svg(draw, 0.9 + 0.24 * len(names))


def throughput(report: Report, verb: str) -> str | None:
    """Images a second against batch, a line for each graph and engine; None where only one batch was measured."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for timing in _measured(report, verb):
        if timing.graph and timing.threads == report.environment.threads:
            name = f"{timing.graph.removesuffix('.onnx')}, {timing.backend}"
            lines.setdefault(name, []).append((timing.batch, per_second(timing.batch, timing.times_ms)))
    batches = sorted({batch for points in lines.values() for batch, _ in points})
    if len(batches) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, points in lines.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", markersize=4, label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("images of one run")
        axes.set_ylabel("images a second")
        figure.legend(loc="outside lower center", fontsize=8, frameon=False)

    return _svg(draw, 2.6 + 0.2 * len(lines))


def pareto(report: Report) -> str | None:
    """Cost against what an observer sees and what the task reaches; None with fewer than two models."""
    models = [model for model in report.models if isinstance(model.figures.get("stego_psnr_db"), float)]
    if len(models) < 2:
        return None

    def draw(figure: Figure) -> None:
        for axes, name, text in zip(
            figure.subplots(1, 2), ("stego_psnr_db", "dsc"), ("stego against cover, dB", "Dice"), strict=True
        ):
            points = [(m.multiply_adds / 1e9, m.figures[name], m.name) for m in models if name in m.figures]
            axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o", color=ACCENT)
            for x, y, label in points:
                axes.annotate(label, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
            axes.set_xlabel("GMACs of a trip")
            axes.set_ylabel(text)
            axes.margins(0.25)

    return _svg(draw, 2.6)


def histogram(report: Report) -> str | None:
    """How far values are from the cover's; None where nothing was compared."""
    if not report.visibility:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for seen, colour in zip(report.visibility, (ACCENT, SERVER), strict=False):
            total = sum(seen.levels)
            shares = [100 * number / total for number in seen.levels]
            axes.step(range(len(shares)), shares, where="mid", color=colour, label=seen.photo, linewidth=1.6)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("grey levels from the cover's value")
        axes.set_ylabel("% of all values")
        axes.legend(frameon=False)

    return _svg(draw, 2.6)


def attacks(report: Report) -> str | None:
    """ROC curves of the detectors, and error against pairs; None where nothing was attacked."""
    found = report.attacks
    if found is None:
        return None

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1)
        draw_roc(above, found)
        draw_learned(below, found)

    return _svg(draw, 6.6)


def draw_roc(axes: Any, found: Attacks) -> None:
    """The classical detector's, first seed: a line for each attacker of stego and reply, and for LSB matching."""
    styles = {"the exact weights": "-", "the architecture": "--", "nothing": ":"}
    colours = {"stego": ACCENT, "reply": SERVER}
    for row in found.detections:
        if row.detector != "classical" or row.target.startswith("cover") or not row.curve:
            continue
        ours = row.target in colours
        knows = f"trained on {row.trained_on}" if row.knowledge == "nothing" else f"knows {row.knowledge}"
        axes.plot(
            *zip(*row.curve, strict=True),
            color=colours.get(row.target, GREY),
            linestyle=styles.get(row.knowledge, "-"),
            linewidth=1.6 if ours else 0.9,
            label=f"{row.target}, {knows}" if ours else f"control: {row.target}",
        )
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":")
    axes.set_xlabel("false alarms")
    axes.set_ylabel("found (classical detector)")
    if len(axes.lines) > 1:
        axes.legend(frameon=False, fontsize=6.5, loc="lower right")


def draw_learned(axes: Any, found: Attacks) -> None:
    """Error against pairs, the means over seeds, a line for each hider and photo."""
    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for point in found.learned:
        lines.setdefault((point.hider, point.target), []).append((point.pairs, 100 * mean(point.error)))
    hiders = list(dict.fromkeys(hider for hider, _ in lines))
    for (hider, target), points in lines.items():
        colour = {"stego": ACCENT, "reply": SERVER}.get(target, INK)
        style, marker = "-" if hider == found.hider else "--", MARKERS[hiders.index(hider) % len(MARKERS)]
        label = f"{hider}, {target}"
        axes.plot(*zip(*sorted(points), strict=True), style, marker=marker, markersize=5, color=colour, label=label)
    axes.axhline(50, color=GREY, linewidth=0.8)
    counts = sorted({point.pairs for point in found.learned})
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set_ylim(-1, 55)
    axes.set_xlabel("pairs the detector was trained on (grey: guessing)")
    axes.set_ylabel("error %, classical detector")
    if lines:
        axes.legend(frameon=False, fontsize=8, loc="center right")


def _main(report: Report, timing: Timing) -> bool:
    return timing.batch == 1 and timing.threads == report.environment.threads and not timing.paper


def _measured(report: Report, verb: str) -> list[Timing]:
    return [timing for timing in report.timings if timing.verb == verb and timing.times_ms]


def _label(timing: Timing) -> str:
    if timing.backend == "torch":
        return timing.rival
    return f"{timing.graph.removesuffix('.onnx') or timing.rival}\n{timing.backend}"


def _legend(axes: Any, colours: dict[str, str]) -> None:
    for name, colour in colours.items():
        axes.plot([], [], "s", color=colour, label=name)
    axes.legend(frameon=False, loc="upper right", fontsize=8)


def _svg(draw: Callable[[Figure], None], height: float) -> str:
    """The drawing as an SVG element, without a date, a maker, or an address of any kind but the name spaces."""
    with rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(WIDTH, height))
        draw(figure)
        buffer = io.StringIO()
        nothing: Sequence[str] = ("Date", "Creator", "Format", "Type")
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(nothing))
    text = buffer.getvalue()
    return text[text.index("<svg") :].strip()
