"""A tiny training in a process of its own, to be killed, or in two that share it: ``alone.py DATA COVERS OUT [N]``."""

import dataclasses
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from hidemia.training import batches, loop
from hidemia.training import run as runs
from hidemia.training.analyzer import AnalyzerConfig
from hidemia.training.data import Batch
from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig
from hidemia.training.recipe import Recipe
from hidemia.training.run import Machines, run

RECIPE = Recipe(
    ModelConfig(
        "alone",
        image_size_px=32,
        hider=HiderConfig(blocks=4, growth=2),
        analyzer=AnalyzerConfig(width=8, levels=1, attention_levels=1),
    ),
    (
        StageConfig("read", steps=30, batch=2, size_px=16, hider_rate=1e-3, analyzer_rate=1e-3),
        StageConfig("distill_functions", steps=3, batch=2, size_px=16, hider_rate=1e-3),
    ),
    teacher=HiderConfig(blocks=8, growth=2),
)


def main(data: str, covers: str, out: str, processes: str = "1") -> None:
    """Train; together, write what each process ends with, and break one step of the second."""
    torch.set_num_threads(1)
    runs.Checkpoint = lambda path: loop.Checkpoint(path, every=2)
    machines = Machines(int(processes), precision="32-true")
    if machines.devices == 1:
        run(RECIPE, Path(data), None, Path(covers), Path(out), "cpu", machines=machines)
        return
    seen: list[float] = []
    broken, real = [4], batches.training_batch

    def training_batch(*arguments: object) -> Batch:
        place, step = arguments[6], arguments[5]
        batch = real(*arguments)  # type: ignore[arg-type]
        seen.append(batch.secrets.sum().item())
        if place.rank == 1 and step in broken:  # type: ignore[attr-defined]
            broken.remove(step)
            return batch._replace(covers=batch.covers * float("nan"))
        return batch

    ends, real_stage = [], runs.run_stage

    def run_stage(*arguments: object) -> torch.nn.Module:
        averaged = real_stage(*arguments)  # type: ignore[arg-type]
        objective, fabric = arguments[0], arguments[3]
        assert isinstance(fabric, Fabric)
        parameters = {name: value.detach().clone() for name, value in objective.named_parameters()}  # type: ignore[attr-defined]
        ends.append({"parameters": parameters, "average": averaged.state_dict()})
        torch.save({"ends": ends, "seen": seen}, Path(out) / f"rank{fabric.global_rank}")
        return averaged

    batches.training_batch, runs.run_stage = training_batch, run_stage
    recipe = dataclasses.replace(RECIPE, stages=(dataclasses.replace(RECIPE.stages[0], steps=8), RECIPE.stages[1]))
    run(recipe, Path(data), None, Path(covers), Path(out), "cpu", machines=machines)


if __name__ == "__main__":
    main(*sys.argv[1:])
