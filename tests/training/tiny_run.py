"""A stage of a tiny system that keeps what it did: how the loop is tested."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from hidemia.training.data import Batch, Scans, training_batch
from hidemia.training.loop import Checkpoint, run_stage
from hidemia.training.objective import Aids, StageConfig
from hidemia.training.run import Machines
from hidemia.training.stages import OBJECTIVES


class Run:
    """A stage of a tiny system on made-up scans; keeps the loss of every step that was computed."""

    def __init__(self, system: nn.Module, folder: Path, steps: int, objective: str = "joint", every: int = 4) -> None:
        config = StageConfig(objective, steps, batch=2, size_px=32, hider_rate=1e-3, analyzer_rate=1e-3)
        torch.manual_seed(2)
        self.objective = OBJECTIVES[objective](system, Aids(8, None), config)
        self.checkpoint = Checkpoint(folder / "1-stage.pt", every)
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.validated = 0
        draw = torch.Generator().manual_seed(3)
        images = torch.randint(256, (5, 3, 256, 256), generator=draw, dtype=torch.uint8)
        masks = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
        masks[:, :, 60:160, 90:170] = 255
        self.scans = Scans(images, masks, torch.zeros(5, dtype=torch.int64), ("",))
        self.photos = torch.randint(256, (3, 3, 40, 40), generator=draw, dtype=torch.uint8)
        self.objective.register_forward_hook(self._record)

    def _record(self, module: nn.Module, arguments: object, losses: dict[str, torch.Tensor]) -> None:
        self.losses.append(torch.stack(list(losses.values())).sum().item())

    def batch(self, step: int) -> Batch:
        self.steps.append(step)
        return training_batch(self.scans, self.photos, 32, 2, 0, step)

    def validate(self, system: nn.Module) -> dict[str, float]:
        self.validated += 1
        return {"figure": 0.5}

    def go(self, batch_of: Callable[[int], Batch] | None = None, precision: str = "32-true") -> nn.Module:
        fabric = Machines(precision=precision).fabric("cpu")
        return run_stage(
            self.objective,
            batch_of or self.batch,
            self.validate,
            fabric,
            self.checkpoint,
            seed=0,
            validate_every=6,
        )

    def curve(self) -> list[dict[str, float]]:
        text = self.checkpoint.path.with_suffix(".jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def saved(self) -> dict[str, object]:
        return torch.load(self.checkpoint.path, weights_only=True)
