"""``hidemia train MODEL --data DIR --covers DIR [--out DIR] [--resume]``: run a recipe, stage by stage."""

from __future__ import annotations

import argparse
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric

from hidemia.training.data import Scans, hiding_batch, read_covers, read_scans, training_batch
from hidemia.training.errors import TrainingError
from hidemia.training.loop import Checkpoint, run_stage
from hidemia.training.recipes import RECIPES, Recipe
from hidemia.training.stages import OBJECTIVES, Aids
from hidemia.training.system import System
from hidemia.training.thresholds import with_thresholds
from hidemia.training.validation import validate
from hidemia.training.weights import load_weights, save_weights


def train(arguments: list[str]) -> int:
    """Train a model from a named recipe."""
    parser = argparse.ArgumentParser(prog="hidemia train", description=train.__doc__)
    parser.add_argument("model", choices=sorted(RECIPES), help="the recipe")
    parser.add_argument("--data", type=Path, required=True, help="medical images: a folder with index.csv")
    parser.add_argument("--simulated", type=Path, help="simulated scans to mix into training, in the same layout")
    parser.add_argument("--covers", type=Path, required=True, help="photos: a folder with index.csv")
    parser.add_argument("--out", type=Path, help="where checkpoints and weights go (default runs/MODEL)")
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run in --out stopped")
    parser.add_argument("--start", type=Path, metavar="WEIGHTS", help="go on from the weights of another run")
    parser.add_argument("--first-stage", type=int, default=1, metavar="N", help="with --start: the stage to begin with")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s")
    logging.getLogger("hidemia.training").setLevel(logging.INFO)
    recipe = RECIPES[options.model]
    out = options.out or Path("runs") / options.model
    if out.exists() and any(out.glob("*.pt")) and not options.resume:
        raise TrainingError(f"{out}: expected an empty folder, found checkpoints; add --resume or choose another --out")
    if not 1 <= options.first_stage <= len(recipe.stages) or (options.first_stage > 1 and options.start is None):
        parser.error(
            f"--first-stage: expected 1 to {len(recipe.stages)}, beyond 1 with --start, got {options.first_stage}"
        )
    start = Start(options.start, options.first_stage)
    run(recipe, options.data, options.simulated, options.covers, out, options.device, start)
    return 0


class Start(NamedTuple):
    """Where a run begins: with the weights of another, or none, and at which stage of the recipe, from 1."""

    weights: Path | None = None
    stage: int = 1


FROM_NOTHING = Start()


def run(
    recipe: Recipe,
    data: Path,
    simulated: Path | None,
    covers: Path,
    out: Path,
    device: str,
    start: Start = FROM_NOTHING,
) -> System:
    """Every stage of a recipe, each going on from the averaged weights of the one before.

    Writes ``out/weights`` and returns what they hold: the system as it will be used, after rounding to float16.
    """
    model = recipe.model
    segmentation = model.task == "segmentation"
    scans = read_scans(data, "train", segmentation)
    unseen = read_scans(data, "val", segmentation)
    if simulated is not None:
        scans = _mixed(scans, read_scans(simulated, "train", segmentation))
    photos = read_covers(covers, "train", model.image_size_px)
    unseen_photos = read_covers(covers, "val", model.image_size_px)
    out.mkdir(parents=True, exist_ok=True)
    _no_room(out)

    torch.manual_seed(recipe.seed)
    fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed")
    system = model.build()
    if start.weights is not None:
        _fill(system, start.weights)
    aids = Aids(system.analyzer.width, None if segmentation else len(model.classes))
    for number, config in enumerate(recipe.stages, start=1):
        if number < start.stage:
            continue
        objective = OBJECTIVES[config.objective](system, aids, config)
        draw = hiding_batch if config.objective == "hide" else training_batch
        averaged = run_stage(
            objective,
            lambda step, draw=draw, config=config: fabric.to_device(  # type: ignore[misc]
                draw(scans, photos, config.size_px, config.batch, recipe.seed, step)
            ),
            partial(validate, scans=unseen, covers=unseen_photos, size_px=max(96, config.size_px)),
            fabric,
            Checkpoint(out / f"{number}-{config.objective}.pt"),
            recipe.seed,
        )
        system.load_state_dict(averaged.state_dict())
    save_weights(system, model, out / "weights", half=True)
    rounded, _ = load_weights(out / "weights")
    save_weights(rounded, with_thresholds(rounded, model, unseen, unseen_photos), out / "weights", half=True)
    return rounded


def _fill(system: System, weights: Path) -> None:
    """Take over what another run learned; parts that it did not have keep their start, which writes nothing."""
    earlier, _ = load_weights(weights)
    try:
        missing, unknown = system.load_state_dict(earlier.state_dict(), strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{weights}: does not fit the recipe: {' '.join(str(error).split())[:300]}") from error
    if unknown or any(not name.startswith("analyzer.seals.") for name in missing):
        raise TrainingError(f"{weights}: does not fit the recipe, which differs in {(unknown + missing)[0]}")


def _mixed(real: Scans, simulated: Scans) -> Scans:
    """Real and simulated scans as one set."""
    masks = None
    if real.masks is not None and simulated.masks is not None:
        masks = torch.cat([real.masks, simulated.masks])
    labels = torch.cat([real.labels, simulated.labels])
    return Scans(torch.cat([real.images, simulated.images]), masks, labels, real.classes)


def _no_room(out: Path) -> None:
    """Refuse to start what the disk cannot hold: about ten checkpoints."""
    free = shutil.disk_usage(out).free
    if free < 2**30:
        raise TrainingError(f"{out}: expected 1 GiB free for checkpoints, got {free / 2**30:.2f}; make room")
