"""A run: every stage of a recipe, on one machine or several, and the weights that it ends with."""

from __future__ import annotations

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from hidemia.training.batches import Batches
from hidemia.training.data import Batch, Place, Scans, read_covers, read_scans, read_scans_of, spread
from hidemia.training.errors import TrainingError
from hidemia.training.invertible import InvertibleHider
from hidemia.training.loop import Checkpoint, run_stage
from hidemia.training.objective import Aids
from hidemia.training.offsets import set_offsets
from hidemia.training.recipe import Recipe
from hidemia.training.stages import OBJECTIVES
from hidemia.training.start import FROM_NOTHING, Start, fill, guide_of, hide_as, released, taught_by
from hidemia.training.system import System
from hidemia.training.thresholds import with_thresholds
from hidemia.training.validation import validate
from hidemia.training.weights import load_weights, save_weights

log = logging.getLogger("hidemia.training")
LOOKED_AT = 100  # most images of val that a stage is judged by
Precision = Literal["bf16-mixed", "32-true"]  # float16 overflows in the couplings, and its scaler hides explosions


class ImagesWhole(MixedPrecision):
    """bfloat16 in networks alone: images would come in steps as large as what is hidden in them.

    ``device`` is ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        super().__init__("bf16-mixed", device)

    def convert_input(self, data: Any) -> Any:
        """As they are."""
        return data


class Machines(NamedTuple):
    """What a run computes on: processes a machine, machines, and the precision of convolutions."""

    devices: int = 1
    nodes: int = 1
    precision: Precision = "bf16-mixed"

    def fabric(self, device: str) -> Fabric:
        """Starts the other processes where there are any. A stage leaves some parameters without a gradient."""
        together = self.devices * self.nodes > 1
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        mixed = self.precision == "bf16-mixed"
        fabric = Fabric(
            accelerator=device,
            devices=self.devices,
            num_nodes=self.nodes,
            strategy="ddp_find_unused_parameters_true" if together else "auto",
            precision=None if mixed else self.precision,
            plugins=ImagesWhole(device) if mixed else None,
        )
        if together:
            fabric.launch()
        return fabric


ONE_MACHINE = Machines()


def run(
    recipe: Recipe,
    data: Path,
    simulated: Path | None,
    covers: Path,
    out: Path,
    device: str,
    start: Start = FROM_NOTHING,
    machines: Machines = ONE_MACHINE,
) -> System:
    """Every stage of a recipe, each going on from the averaged weights of the one before.

    Writes ``out/weights`` and returns what they hold: the system as it will be used, its kernels rounded to 8 bits.
    """
    model = recipe.model
    segmentation = model.task == "segmentation"
    guide = guide_of(recipe, start)
    scans, unseen = task_scans(recipe, data, simulated)
    photos = read_covers(covers, "train", model.image_size_px)
    unseen_photos = read_covers(covers, "val", model.image_size_px)
    out.mkdir(parents=True, exist_ok=True)
    _no_room(out)

    fabric = machines.fabric(device)
    place = Place(fabric.global_rank, fabric.world_size)
    torch.manual_seed(recipe.seed)
    system = model.build()
    teacher = None if recipe.teacher is None else recipe.teacher.build()
    if start.weights is not None and recipe.pupil_of is not None and start.stage == 1:
        teacher = taught_by(system, recipe, start.weights)
    elif start.weights is not None:
        fill(system, start.weights)
    if start.hider is not None:
        hide_as(system, recipe, start.hider)
    if start.teacher is not None:
        teacher = released(recipe, start.teacher)
    aids = Aids(system.analyzer.width, None if segmentation else len(model.classes))

    batches = Batches(recipe, scans, photos, system.hider, out, place)

    def batch_of(stage: int, step: int) -> Batch:
        return fabric.to_device(batches.batch(stage, step))

    looked_at = spread(unseen, LOOKED_AT)
    for number, config in enumerate(recipe.stages, start=1):
        if number < start.stage:
            continue
        torch.manual_seed(recipe.seed * 7919 + number)  # what a stage adds of its own starts the same when resumed
        stage_system = _taught(system, teacher) if config.teacher else system
        shown_by = guide if OBJECTIVES[config.objective].guided else teacher
        averaged = run_stage(
            OBJECTIVES[config.objective](stage_system, aids, config, shown_by),
            partial(batch_of, number),
            partial(validate, scans=looked_at, covers=unseen_photos, size_px=max(96, config.size_px)),
            fabric,
            Checkpoint(out / f"{number}-{config.objective}.pt"),
            recipe.seed,
        )
        stage_system.load_state_dict(averaged.state_dict())
    if not fabric.is_global_zero:
        return system
    save_weights(system, model, out / "weights", bits=8)
    rounded, _ = load_weights(out / "weights")
    if done := set_offsets(rounded, unseen, unseen_photos, model.image_size_px):
        log.info("%s", done)
    save_weights(rounded, with_thresholds(rounded, model, unseen, unseen_photos), out / "weights", bits=8)
    return rounded


def task_scans(recipe: Recipe, data: Path, simulated: Path | None) -> tuple[Scans, Scans]:
    """What is learned from, with simulated scans mixed in, and what is looked at."""
    scans, unseen = (read_scans_of(recipe.model, data, split) for split in ("train", "val"))
    if simulated is not None:
        scans = _mixed(scans, read_scans(simulated, "train", recipe.model.task == "segmentation"))
    return scans, unseen


def _taught(system: System, teacher: InvertibleHider | None) -> System:
    """The same analyzer and head with the teacher in the student's place."""
    if teacher is None:
        raise TrainingError("recipe: expected a teacher for the stages that use one, got none; name it in the recipe")
    return System(teacher, system.analyzer, system.head)


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
