"""``hidemia table N``: a table of the paper on a data set at hand, trained within a budget."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import get_args

from hidemia.benchmarks import paper
from hidemia.benchmarks.cells import Bench, Budget
from hidemia.benchmarks.pages import between, opened_at
from hidemia.benchmarks.plain_network import plain_figures, plain_travel
from hidemia.benchmarks.tables import TABLES, Rows, markdown, printed
from hidemia.runtime.arguments import positive
from hidemia.training.index import read_index
from hidemia.training.model import ModelConfig
from hidemia.training.run import Precision

ABLATIONS = range(3, 7)


def table(arguments: list[str]) -> int:
    """Train, measure and write a table of the paper; cells that are there already are taken as they are."""
    parser = argparse.ArgumentParser(prog="hidemia table", description=table.__doc__)
    parser.add_argument("number", type=int, choices=sorted(TABLES))
    bench_options(parser)
    parser.add_argument(
        "--column", choices=sorted(paper.COLUMNS),
        help="Table 1: whose figures of the paper stand beside yours (default: the first of these words, in the "
        "paper's order, that the name of the --data folder has in it; none where there is no such word)",
    )  # fmt: skip
    parser.add_argument("--plain", type=Path, metavar="WEIGHTS", help="Table 1: a plain network to stand beside")
    parser.add_argument(
        "--hider", type=Path, metavar="WEIGHTS", help="Tables 3 to 6: a finished hider, on which the analyzers learn"
    )
    parser.add_argument("--page", type=Path, help="also renew the table on this page, between its marks")
    options = parser.parse_args(arguments)
    mark = f"<!-- figures: hidemia table {options.number} -->"
    page = opened_at(options.page, mark) if options.page else ""
    if options.hider is not None and options.number not in ABLATIONS:
        parser.error(f"--hider: expected one of tables 3 to 6, got table {options.number}, which trains its hiders")
    bench = bench_of(parser, options)
    bench = dataclasses.replace(bench, budget=dataclasses.replace(bench.budget, hider=options.hider))
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("hidemia.training").setLevel(logging.INFO)

    model = model_of(options.data)
    cells = TABLES[options.number][0](model, bench.budget)
    results = {name: bench.fill(cell) for name, cell in chosen_of(parser, options, cells).items()}
    if options.plain is not None and options.number == 1:
        results = {"plain": plain_figures(*plain_travel(options.plain, options.data, options.split)), **results}
    column = options.column or next((name for name in paper.COLUMNS if name in options.data.name.lower()), None)
    text = markdown(
        options.number,
        results,
        printed(options.number, column, model.task),
        note(bench, options.number, column, model.task),
    )
    (bench.out / f"table{options.number}.json").write_text(json.dumps(results, indent=2) + "\n")
    (bench.out / f"table{options.number}.md").write_text(text)
    if options.page:
        lines = [f"    {asked(arguments)}", "", *text.rstrip("\n").splitlines()[2:]]
        options.page.write_text(between(page, mark, lines), encoding="utf-8")
    sys.stdout.write(text)
    return 0


def asked(arguments: list[str]) -> str:
    """The command as it stands on a page: folders by name, and without those of this machine."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in ("--out", "--page", "--device"):
        parser.add_argument(name)
    for name in ("--data", "--covers"):
        parser.add_argument(name, type=lambda text: Path(text).name)
    here, rest = parser.parse_known_args(arguments)
    return shlex.join(["hidemia", "table", *rest, "--data", here.data, "--covers", here.covers])


def bench_options(parser: argparse.ArgumentParser) -> None:
    """What tables and figures have in common."""
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--covers", type=Path, required=True, help="any folder of photos")
    parser.add_argument("--out", type=Path, default=Path("runs/tables"), help="cells and tables (default runs/tables)")
    parser.add_argument("--budget", type=int, metavar="STEPS", help="steps a cell (default: as the recipes have it)")
    parser.add_argument("--size-px", type=int, default=224, help="side of all images, a multiple of 32 (default 224)")
    parser.add_argument("--rival-width", type=int, help="of the rivals' first level, a multiple of 4 (default: theirs)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows")
    parser.add_argument("--split", default="val", help="choose on val, report test once (default val)")
    parser.add_argument("--covers-per-image", type=positive, default=5, help="(default 5)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=get_args(Precision), default="bf16-mixed", help="of training")


def bench_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Bench:
    """Where and how the cells are trained; leaves with a line when the call is wrong."""
    if options.size_px < 32 or options.size_px % 32:
        parser.error(f"--size-px: expected a multiple of 32, got {options.size_px}")
    if options.budget is not None and options.budget < 1:
        parser.error(f"--budget: expected at least 1 step, got {options.budget}")
    return Bench(
        options.data,
        options.covers,
        options.out / options.data.name,
        Budget(options.budget, options.size_px, options.rival_width),
        options.device,
        options.split,
        options.covers_per_image,
        options.precision,
    )


def chosen_of(parser: argparse.ArgumentParser, options: argparse.Namespace, cells: Rows) -> Rows:
    """The rows that were asked for; leaves with a line when one of them is none."""
    unknown = set(options.rows or ()) - set(cells)
    if unknown:
        parser.error(f"--rows: expected some of {', '.join(cells)}, got {', '.join(sorted(unknown))}")
    return {name: cell for name, cell in cells.items() if not options.rows or name in options.rows}


def model_of(data: Path) -> ModelConfig:
    """The task of a data set: outlines where it has masks, else its classes."""
    rows = read_index(data)
    if any(row.get("mask") for row in rows):
        return ModelConfig(data.name)
    classes = tuple(sorted({row.get("label") or "" for row in rows}))
    return ModelConfig(data.name, task="classification", classes=classes)


def note(bench: Bench, number: int, column: str | None, task: str) -> str:
    """What the figures are to be read with."""
    budget = bench.budget
    steps = "the recipes' steps" if budget.steps is None else f"{budget.steps} steps a cell"
    width = "as published" if budget.width is None else f"narrowed to width {budget.width}"
    covers = "1 cover" if bench.covers_per_image == 1 else f"{bench.covers_per_image} covers"
    what = f"; rivals {width}"
    if number in ABLATIONS:
        what = "" if budget.hider is None else f"; the analyzer alone, on the finished hider of `{budget.hider.name}`"
    lines = (
        f"`{bench.data.name}`, split `{bench.split}`, {budget.size_px} px, {covers} an image; "
        f"{steps}, precision {bench.precision}, one seed{what}. After the 8-bit channel."
    )
    theirs = {1: paper.COLUMNS.get(column or "", "none"), 2: f"the mean over its {task} sets"}.get(number, "BUSI")
    lines += f" The paper's figures: {theirs}, its test split."
    if number == 7:
        lines += " Our GMACs are hide and recover together, at 224 px; the paper's are three passes of what it counts."
    return lines
