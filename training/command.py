"""``hidemia train MODEL --data DIR --covers DIR [--out DIR] [--resume]``: run a recipe, or train a plain network."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import get_args

from hidemia.training.errors import TrainingError
from hidemia.training.plain import matched, vanilla
from hidemia.training.plain_training import PLAN, train_plain
from hidemia.training.recipe import Recipe
from hidemia.training.recipes import RECIPES
from hidemia.training.run import Machines, Precision, run, task_scans
from hidemia.training.start import Start

PLAIN = {"plain-": matched, "vanilla-": vanilla}  # what a plain network is trained by: prefixes of a recipe's name


def train(arguments: list[str]) -> int:
    """Train a model from a named recipe."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("hidemia.training").setLevel(logging.INFO)
    prefix = next((prefix for prefix in PLAIN if options.model.startswith(prefix)), "")
    recipe = RECIPES[options.model.removeprefix(prefix)]
    if options.seed is not None:
        if not 0 <= options.seed < 2**31:
            parser.error(f"--seed: expected 0 to {2**31 - 1}, got {options.seed}")
        recipe = dataclasses.replace(recipe, seed=options.seed)
    out = options.out or Path("runs") / options.model
    if out.exists() and any(out.glob("*.pt")) and not options.resume:
        raise TrainingError(f"{out}: expected an empty folder, found checkpoints; add --resume or choose another --out")
    if prefix:
        _refuse_for_plain(parser, options)
        fabric = Machines(precision=options.precision).fabric(options.device)
        plain = dataclasses.replace(PLAIN[prefix](recipe.model), noise=options.noise)
        plan = PLAN if options.rate is None else dataclasses.replace(PLAN, rates=(options.rate,))
        train_plain(plain, recipe, task_scans(recipe, options.data, options.simulated), out, fabric, plan)
        return 0
    _refuse(parser, options, recipe)
    hider_alone = recipe.hider_of is not None and options.first_stage == 1  # later, the weights are this very model's
    start = Start(
        weights=None if hider_alone else options.start,
        stage=options.first_stage,
        hider=options.start if hider_alone else None,
        teacher=options.teacher,
        plain=tuple(options.plain),
    )
    machines = Machines(options.devices, options.nodes, options.precision)
    run(recipe, options.data, options.simulated, options.covers, out, options.device, start, machines)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hidemia train", description=train.__doc__)
    models = sorted(RECIPES)
    parser.add_argument(
        "model",
        choices=[*models, *(prefix + name for prefix in PLAIN for name in models)],
        metavar="MODEL",
        help=f"the recipe: {', '.join(models)}; or the same task with nothing hidden: plain-MODEL by a network of "
        "the analyzer's size, vanilla-MODEL by the paper's",
    )
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--simulated", type=Path, help="simulated scans to mix into training, in the same layout")
    parser.add_argument("--covers", type=Path, help="any folder of photos; a plain network needs none")
    parser.add_argument("--out", type=Path, help="where checkpoints and weights go (default runs/MODEL)")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run in --out stopped")
    parser.add_argument("--start", type=Path, metavar="WEIGHTS", help="go on from the weights of another run")
    parser.add_argument("--teacher", type=Path, metavar="MODEL.PT", help="HiNet's released checkpoint as the teacher")
    parser.add_argument(
        "--plain", type=Path, nargs="+", default=[], metavar="WEIGHTS",
        help="after MODEL: plain networks, which a stage `follow` learns from together",
    )  # fmt: skip
    parser.add_argument(
        "--first-stage", type=int, default=1, metavar="N", help="with --start or --teacher: the stage to begin with"
    )
    parser.add_argument(
        "--noise",
        type=float,
        default=0.0,
        metavar="LEVELS",
        help="for a plain network: on each image, of 255",
    )
    parser.add_argument("--rate", type=float, metavar="R", help="for a plain network: the one learning rate to try")
    parser.add_argument("--seed", type=int, metavar="N", help="of every random draw (default: the recipe's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--devices", type=int, default=1, help="processes, one a GPU, on each machine (default 1)")
    parser.add_argument("--nodes", type=int, default=1, help="machines; each runs this command, see docs/research.md")
    parser.add_argument("--precision", choices=get_args(Precision), default="bf16-mixed")
    return parser


def _refuse_for_plain(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with a line where an option cannot be meant for a plain network."""
    for name in ("start", "teacher", "first_stage", "plain", "devices", "nodes"):
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')}: expected none, as it is for recipes alone; leave it out")
    if not 0 <= options.noise < 255:
        parser.error(f"--noise: expected 0 to 254, got {options.noise:g}")
    if options.rate is not None and not 0 < options.rate < 1:
        parser.error(f"--rate: expected more than 0 and less than 1, got {options.rate:g}")


def _refuse(parser: argparse.ArgumentParser, options: argparse.Namespace, recipe: Recipe) -> None:
    """Ends with a line where the options do not fit a recipe."""
    nothing = options.start is None and options.teacher is None
    if recipe.origin is not None and options.start is None:
        parser.error(f"--start: expected the weights of {recipe.origin}, which {options.model} goes on from, got none")
    if not 1 <= options.first_stage <= len(recipe.stages) or (options.first_stage > 1 and nothing):
        parser.error(
            f"--first-stage: expected 1 to {len(recipe.stages)}, beyond 1 with --start or --teacher, "
            f"got {options.first_stage}"
        )
    if options.devices < 1 or options.nodes < 1:
        parser.error(f"--devices, --nodes: expected at least 1, got {options.devices} and {options.nodes}")
    for name in ("noise", "rate"):
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name}: expected none, as it is for plain networks alone, got {getattr(options, name):g}")
    if options.covers is None:
        parser.error("--covers: expected a folder of photos, got none")
