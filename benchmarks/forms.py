"""Which form of a network serves which engine and batch: the measurement behind the exporter's choice, kept.

``python -m hidemia.benchmarks.forms`` times every FP32 form of the packaged model's hider, and of an analyzer of
difference convolutions, beside their rivals, writes ``docs/forms.json``, and from it the tables of ``docs/modc.md`` and
``docs/hider.md``. A manifest lists a verb's graphs in the order they are tried in, so its choice is marked in the
tables; where another form was faster, that shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from hidemia.benchmarks import plain
from hidemia.benchmarks.contenders import ENGINES, Feed, installed
from hidemia.benchmarks.environment import environment
from hidemia.benchmarks.packaged import WEIGHTS, check_weights
from hidemia.benchmarks.pages import opened, renewed
from hidemia.benchmarks.report.document import Environment
from hidemia.benchmarks.timing import Run, interleaved, medians
from hidemia.export.probes import simulated
from hidemia.export.tracing import Exported, traced
from hidemia.runtime.arguments import positive
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.manifest import Verb
from hidemia.training.errors import one_line
from hidemia.training.system import System
from hidemia.training.weights import load_weights

PROG = "python -m hidemia.benchmarks.forms"
DOCS = Path(__file__).parents[1] / "docs"
PAGES: dict[str, tuple[Verb, ...]] = {"modc.md": ("analyze",), "hider.md": ("hide", "recover")}
BATCHES: dict[Verb, tuple[int, ...]] = {"hide": (1,), "recover": (1,), "analyze": (1, 8)}
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


class Timed(msgspec.Struct, frozen=True):
    """One form in one engine.

    Attributes:
        ms_a_photo: median time of a run over the photos in it.
        chosen: whether the manifest gives this form to the engine for this batch.
    """

    verb: Verb
    form: str
    engine: str
    batch: int
    ms_a_photo: float
    chosen: bool


class Forms(msgspec.Struct, frozen=True):
    """The content of ``docs/forms.json``."""

    rounds: int
    environment: Environment
    times: list[Timed]


def measure(verb: Verb, batch: int, system: System, made: Iterable[Exported], rounds: int) -> list[Timed]:
    """Every form of a verb that takes such a batch, and its rivals, in every engine, within one run."""
    mine = [each for each in made if each.graph.verb == verb and each.graph.serves(batch)]
    feed, threads = _feed(verb, batch, mine[0].graph.inputs[0].spatial_shape[0]), usable_threads()
    chosen = {engine: _form(next(each for each in mine if engine in each.graph.backends)) for engine in installed()}
    files = {_form(each): each.data for each in mine} | _rivals(verb, system, feed)
    runs: dict[str, Run] = {
        f"{form} {engine}": ENGINES[engine](data, feed, threads)
        for form, data in files.items()
        for engine in installed()
    }
    found = medians(interleaved(runs, rounds))
    return [
        Timed(verb, form, engine, batch, round(found[f"{form} {engine}"] / batch, 2), form == chosen[engine])
        for form in files
        for engine in installed()
    ]


def _form(exported: Exported) -> str:
    return exported.graph.form or "direct"


def _feed(verb: Verb, batch: int, size_px: int) -> Feed:
    probes = simulated(batch + 1, size_px)
    secrets, covers = (np.stack([getattr(probe, name) for probe in probes[1:]]) for name in ("secret", "cover"))
    if verb == "hide":
        return {"secret": secrets, "cover": covers}
    return (
        {"stego": covers}
        if verb == "analyze"
        else {"reply": np.stack([probe.cover for probe in probes[:-1]]), "sent": covers}
    )


def _rivals(verb: Verb, system: System, feed: Feed) -> dict[str, bytes]:
    """The same networks as they are written in the papers."""
    example, side = {name: torch.from_numpy(value) for name, value in feed.items()}, next(iter(feed.values())).shape[1]
    if verb == "hide":
        return {"plain export": plain.plain_export(plain.PlainHide(system.hider), example, "stego")}
    if verb == "recover":
        return {}
    rivals = {"six branches": plain.branched, "plain convolutions": plain.vanilla}
    return {
        name: plain.plain_export(plain.PlainAnalyze(rival(system.analyzer, side)), example, "reply")
        for name, rival in rivals.items()
    }


def table(times: Sequence[Timed], verbs: Sequence[Verb]) -> list[str]:
    """Rows by form, columns by engine and batch; the manifest's choice is bold, the fastest exact form has a star."""
    mine = [time for time in times if time.verb in verbs]
    columns = list(dict.fromkeys((time.verb, time.engine, time.batch) for time in mine))
    forms = list(dict.fromkeys(time.form for time in mine))
    fastest = {column: _fastest(mine, column) for column in columns}
    cells: Mapping[tuple[str, tuple[Verb, str, int]], Timed] = {
        (time.form, (time.verb, time.engine, time.batch)): time for time in mine
    }
    heads = [f"{verb}, {NAMES[engine]}, batch {batch}" for verb, engine, batch in columns]
    rows = [f"| ms a photo | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for form in forms:
        texts = []
        for column in columns:
            time = cells.get((form, column))
            text = f"{time.ms_a_photo:.1f}" if time else "-"
            text = f"**{text}**" if time and time.chosen else text
            texts.append(f"{text} *" if time and form == fastest[column] else text)
        rows.append(f"| {form} | {' | '.join(texts)} |")
    return rows


def _fastest(times: Sequence[Timed], column: tuple[Verb, str, int]) -> str:
    """Of the forms that compute the network: plain convolutions compute something else."""
    exact = [t for t in times if (t.verb, t.engine, t.batch) == column and t.form != "plain convolutions"]
    return min(exact, key=lambda time: time.ms_a_photo).form


def caption(forms: Forms) -> str:
    """The line under a table."""
    return (
        f"Median of {forms.rounds} interleaved rounds, 224x224, {forms.environment.threads} threads of "
        f"{forms.environment.processor}. Bold: what the manifest gives this engine. Star: the fastest exact form."
    )


@one_line(PROG)
@torch.no_grad()
def main(arguments: list[str]) -> int:
    """Time every FP32 form beside its rivals, and write what was found into docs/."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help=f"whose hider (default: {WEIGHTS})")
    parser.add_argument("--rounds", type=positive, default=15, help="(default 15)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where forms.json and the two pages lie")
    options = parser.parse_args(arguments)
    texts = {page: opened(options.docs / page, "forms") for page in PAGES}  # before the work
    check_weights(options.weights)
    packaged, mixing = (
        (system, traced(system, config).values())
        for system, config in (load_weights(options.weights), (plain.MIXING.build().eval(), plain.MIXING))
    )
    times = [
        time
        for verb, batches in BATCHES.items()
        for batch in batches
        for time in measure(verb, batch, *(mixing if verb == "analyze" else packaged), options.rounds)
    ]
    forms = Forms(options.rounds, environment(usable_threads()), times)
    (options.docs / "forms.json").write_bytes(msgspec.json.format(msgspec.json.encode(forms), indent=2) + b"\n")
    for page, verbs in PAGES.items():
        rows = [*table(times, verbs), "", caption(forms)]
        (options.docs / page).write_text(renewed(texts[page], "forms", rows), encoding="utf-8")
        sys.stdout.write("\n".join(rows) + "\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
