"""What a report says, in order: sections of text, tables, plots and pictures. Markdown and page only lay them out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from hidemia.benchmarks.report import attacked, costs, plots, tables, times, words
from hidemia.benchmarks.report.document import Report
from hidemia.benchmarks.report.measurements import Picture
from hidemia.benchmarks.report.summary import summary
from hidemia.benchmarks.report.table import Table

STEADY = 1.2
VERBS = ("hide", "analyze", "recover")


@dataclass(frozen=True)
class Plot:
    """An SVG, and what it shows for who cannot see it."""

    svg: str
    text: str


@dataclass(frozen=True)
class Section:
    """One section; `blocks` are paragraphs, tables, plots and pictures, in order.

    Attributes:
        id: Its anchor; the same in every report.
        blocks: Empty where the section is absent; then `reason` says why.
    """

    id: str
    title: str
    blocks: Sequence[str | Table | Plot | Picture]
    reason: str = ""


@dataclass(frozen=True)
class Fact:
    """One of the few numbers of the first screen."""

    value: str
    what: str


def facts(report: Report) -> list[Fact]:
    """The first screen: what a trip costs here, and how visible it is."""
    found = []
    if report.stages:
        total = sum(summary(stage.times_ms).median for stage in report.stages)
        side, threads = report.image_size_px, report.environment.threads
        what = f"a whole trip of a photo of {side}x{side} on loopback, in FP32, {threads} threads"
        found.append(Fact(f"{total:.0f} ms", what))
    device = [graph for graph in report.graphs if graph.role == "client"]
    firsts = {graph.verb: graph for graph in reversed(report.graphs)}
    if firsts:
        giga = sum(graph.multiply_adds for graph in firsts.values()) / 1e9
        found.append(Fact(f"{giga:.1f} GMACs", "(10^9 multiply-adds) a trip: hide, analyze and recover as deployed"))
    if device:
        used = sum(graph.size_bytes for verb, graph in firsts.items() if verb != "analyze") / 2**20
        found.append(Fact(f"{used:.1f} MiB", "of network files on the device"))
    startup = next((row for row in report.targets if row.id == "startup_mib" and row.measured is not None), None)
    if startup:
        found.append(Fact(f"{startup.measured:.0f} MiB", "of memory once a client is loaded"))
    found += [*_visible(report), *_detected(report)]
    held = [row.holds for row in report.targets if row.holds is not None]
    if held:
        others = len(report.targets) - len(held)
        beside = f"; {others} not measured" if others else ""
        found.append(Fact(f"{sum(held)} of {len(held)}", f"speed targets held in this run{beside}"))
    return found


def _visible(report: Report) -> Iterator[Fact]:
    figures = report.models[0].figures if report.models else {}
    for photo in ("stego", "reply"):
        psnr, ssim = figures.get(f"{photo}_psnr_db"), figures.get(f"{photo}_ssim")
        if isinstance(psnr, float) and isinstance(ssim, float):
            images = figures.get("n_images")
            yield Fact(
                f"{psnr:.1f} dB", f"{photo} against cover (more is closer), SSIM {ssim:.3f}, {images} test images"
            )
    if isinstance(dice := figures.get("dsc"), float):
        prior = figures.get("location_prior")
        beside = f"; one outline for all images gives {prior:.2f}" if isinstance(prior, float) else ""
        yield Fact(f"{dice:.2f} Dice", f"of the recovered outline, 1 is perfect{beside}")


def _detected(report: Report) -> Iterator[Fact]:
    """How much the detector finds that finds most, if its controls came out as they must."""
    if report.attacks is None or not all(control.held for control in report.attacks.controls):
        return
    rows = [row for row in report.attacks.detections if row.target == "stego"]
    if rows:
        best = max(rows, key=lambda row: (fmean(row.found), -row.pairs))
        yield Fact(
            f"{100 * fmean(best.found):.0f} % found",
            f"of stegos by the best detector, {best.detector}, trained on {best.pairs:,} pairs, at 1 % false alarms",
        )


def warnings(report: Report) -> list[str]:
    """What makes the times of this report worth little, if anything does."""
    found = [
        f"The machine was not steady (threads: {limit.threads}): the median of its own matrix product was "
        f"{limit.unsteadiness:g} times its best. Times below stray as much from run to run: compare them within this "
        "run, or run again when nothing else runs."
        for limit in report.limits
        if limit.unsteadiness > STEADY
    ]
    if report.method.quick:
        found.append("A quick run: few rounds. All of it is measured by make report.")
    return found


def sections(report: Report) -> list[Section]:
    """Every section, absent ones with their reason."""
    return [
        _section(report, "targets", tables.targets(report)),
        _section(
            report,
            "quality",
            tables.quality(report),
            *_plot(plots.pareto(report), "cost of a trip against stego PSNR and Dice, a point a model"),
        ),
        _section(
            report,
            "trip",
            *_plot(plots.stages(report), "stages of the trip, one after the other, by place"),
            times.trip(report),
        ),
        *(
            _section(
                report,
                verb,
                *_plot(plots.latency(report, verb), f"{verb}: time of every run of every rival"),
                times.latency(report, verb),
            )
            for verb in VERBS
        ),
        _section(
            report,
            "throughput",
            *(block for verb in VERBS for block in _plot(plots.throughput(report, verb), f"{verb}: images a second")),
        ),
        _section(report, "limits", times.limits(report)),
        _section(report, "files", report.method.counting, costs.graphs(report)),
        _section(report, "networks", costs.networks(report), *_papers(report)),
        _section(report, "table7", costs.table7(report)),
        _section(
            report,
            "visibility",
            tables.visibility(report),
            *_plot(plots.histogram(report), "share of values by their distance from the cover's"),
            *report.pictures,
        ),
        _section(report, "attacks", *_attacks(report)),
        _section(report, "power", tables.power(report)),
        _section(report, "environment", tables.environment(report)),
        Section("method", words.TITLES["method"], method(report)),
        _section(report, "failures", tables.failures(report)),
    ]


def _attacks(report: Report) -> list[str | Table | Plot]:
    """Nothing where nothing was attacked."""
    found = report.attacks
    if found is None:
        return []
    return [
        " ".join(found.method),
        attacked.controls(found),
        attacked.detections(found),
        *_plot(plots.attacks(report), "ROC curves of the detectors, and error against pairs"),
        attacked.learned(found),
        attacked.exposures(found),
        attacked.absent(found),
    ]


def method(report: Report) -> list[str]:
    """How it was measured, in sentences."""
    how = report.method
    run = (
        f"Measured on {how.date} in {how.seconds / 60:.0f} minutes with {how.images} images of "
        f"{how.image_size_px}x{how.image_size_px}. Before the rounds that count come {how.warm_up} that do not, in the "
        f"speed table 3; that one has {how.rounds} rounds, its analyzers as many as in a whole run. "
        f"Sources {how.code_sha256[:12]}."
    )
    return [run, *words.METHOD]


def _section(report: Report, name: str, *blocks: str | Table | Plot | Picture) -> Section:
    """A section, or why there is none: one that has nothing but text and empty tables is absent."""
    filled = [block for block in blocks if not isinstance(block, Table) or block.rows]
    if all(isinstance(block, str) for block in filled):
        reason = report.absent.get(name, "nothing of it was measured in this run")
        return Section(name, words.TITLES[name], [], reason)
    intro = [words.INTRODUCTIONS[name]] if name in words.INTRODUCTIONS else []
    return Section(name, words.TITLES[name], [*intro, *filled])


def _papers(report: Report) -> list[str | Table]:
    table = times.papers(report)
    return [words.PAPERS, table] if table.rows else []


def _plot(svg: str | None, text: str) -> list[Plot]:
    return [] if svg is None else [Plot(svg, text)]
