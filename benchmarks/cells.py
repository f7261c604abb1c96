"""One cell of a table: a system that is trained within a budget and measured after the 8-bit channel.

A cell is a folder. It goes on where it was stopped, and when its figures are there it is done; two tables that need
the same cell share it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hidemia.benchmarks.evaluate import covers_of, figures, load_photo, travel
from hidemia.runtime import photo
from hidemia.training.channel import to_uint8
from hidemia.training.index import photo_rows, read_rows
from hidemia.training.model import ModelConfig
from hidemia.training.recipe import Recipe
from hidemia.training.run import Machines, Precision, run
from hidemia.training.start import Start
from hidemia.training.system import System
from hidemia.training.weights import load_weights

Image = NDArray[np.uint8]
Result = dict[str, Any]
PAPER_PX = 224


@dataclass(frozen=True)
class Budget:
    """What a cell may cost; it is printed beside every table.

    Attributes:
        steps: of all its stages together; None runs the recipe as it is.
        size_px: side of the images, in training and for the figures.
        width: of the rivals' first level; None is as published.
        hider: weights with a finished hider, on which the analyzers of Tables 3 to 6 learn; None trains one in each.
    """

    steps: int | None = None
    size_px: int = 224
    width: int | None = None
    hider: Path | None = None

    def spent_on(self, recipe: Recipe) -> Recipe:
        """The recipe within the budget: every stage keeps its share of the steps, and of the images of its pool."""
        whole = sum(stage.steps for stage in recipe.stages)
        share = 1.0 if self.steps is None else self.steps / whole
        stages = tuple(
            dataclasses.replace(
                stage,
                steps=max(1, round(share * stage.steps)),
                size_px=min(stage.size_px, self.size_px),
                pool=math.ceil(share * stage.pool),
            )
            for stage in recipe.stages
        )
        return dataclasses.replace(
            recipe, stages=stages, model=dataclasses.replace(recipe.model, image_size_px=self.size_px)
        )


@dataclass(frozen=True)
class Cell:
    """A system to be trained.

    Attributes:
        hider: the cell whose hider it starts with, or weights that have one.
        like, shared: a cell with the same first stages, and how many: taken over where they are there.
    """

    name: str
    recipe: Recipe
    hider: Cell | Path | None = None
    like: Cell | None = None
    shared: int = 0


@dataclass(frozen=True)
class Bench:
    """Where cells are trained: data, covers, the folder of the cells, device, precision; and the split reported."""

    data: Path
    covers: Path
    out: Path
    budget: Budget
    device: str = "auto"
    split: str = "val"
    covers_per_image: int = 5
    precision: Precision = "bf16-mixed"

    def fill(self, cell: Cell) -> Result:
        """The figures of a cell; trained and measured where they are not there yet."""
        folder, wanted = self.out / cell.name, self._key(cell)
        if folder.exists() and _read(folder / "cell.json") != wanted:
            shutil.rmtree(folder)  # another budget or recipe, hence another cell
        done = folder / "figures.json"
        if done.is_file():
            return _read(done)
        start = Start()
        if isinstance(cell.hider, Cell):
            self.fill(cell.hider)
            start = Start(hider=self.out / cell.hider.name / "weights")
        elif cell.hider is not None:
            start = Start(hider=cell.hider)
        _write(folder / "cell.json", wanted)
        self._take_over(cell, folder)
        recipe, machines = self.budget.spent_on(cell.recipe), Machines(precision=self.precision)
        run(recipe, self.data, None, self.covers, folder, self.device, start, machines)
        system, config = load_weights(folder / "weights")
        found = {**cost(system, config), **self.measure(system, config)}
        _write(done, found)
        return found

    def measure(self, system: System, config: ModelConfig) -> Result:
        """The figures of `hidemia evaluate`, taken through PyTorch: nothing is exported for a table."""
        pair = TorchPair(system, config)
        trips = travel(pair, pair, self.data, self.covers, self.split, self.covers_per_image, lambda rows: rows)  # type: ignore[arg-type]
        return figures(trips, pair.manifest.mask_threshold) | self._unrounded(pair)

    def _unrounded(self, pair: TorchPair) -> Result:
        """PSNR had the channel floats, one cover an image: to stand beside the 8-bit figures, never alone."""
        rows, photos = read_rows(self.data, self.split), photo_rows(self.covers, self.split)
        found = []
        for row in rows:
            pick = covers_of(row["image"], len(photos), 1)[0]
            cover = photo.fit(load_photo(self.covers / photos[pick]["image"]), pair.image_size_px)
            found.append(pair.unrounded_psnr_db(load_photo(self.data / row["image"]), cover))
        stego, reply = np.mean(found, axis=0)
        return {"stego_psnr_float_db": float(stego), "reply_psnr_float_db": float(reply)}

    def _take_over(self, cell: Cell, folder: Path) -> None:
        if cell.like is None or _read(self.out / cell.like.name / "cell.json") != self._key(cell.like):
            return
        for number, stage in enumerate(cell.recipe.stages[: cell.shared], start=1):
            for ending in ("pt", "jsonl"):
                name = f"{number}-{stage.objective}.{ending}"
                if (self.out / cell.like.name / name).is_file() and not (folder / name).exists():
                    shutil.copy(self.out / cell.like.name / name, folder / name)

    def _key(self, cell: Cell) -> Result:
        """What decides a cell's figures, as JSON gives it back."""
        recipe = self.budget.spent_on(cell.recipe)
        text = f"{recipe} {self._told(cell.hider)}"
        names = {"data": self.data.name, "covers": self.covers.name, "split": self.split}
        return {"recipe": text, **names, "precision": self.precision}

    def _told(self, hider: Cell | Path | None) -> str:
        """What tells a hider from another."""
        if isinstance(hider, Cell):
            return str(self.budget.spent_on(hider.recipe))
        return "" if hider is None else hashlib.sha256((hider / "hider.safetensors").read_bytes()).hexdigest()


class TorchPair:
    """Client and server at once, as `hidemia.benchmarks.evaluate.travel` uses them, without an engine."""

    def __init__(self, system: System, config: ModelConfig) -> None:
        self.system, self.image_size_px = system.eval(), config.image_size_px
        threshold = config.mask_threshold if config.task == "segmentation" else None
        self.manifest = SimpleNamespace(mask_threshold=threshold, classes=list(config.classes))

    @torch.no_grad()
    def hide(self, secret: Image, cover: Image) -> Image:
        """uint8 (H, W, 3) -> the stego, uint8 (S, S, 3)."""
        return _image(self.system.hider.hide(_tensor(photo.fit(secret, self.image_size_px)), _tensor(cover)))

    @torch.no_grad()
    def analyze(self, stego: Image) -> Image:
        """The reply, uint8 (S, S, 3), its veil off."""
        photo_sent = _tensor(stego)
        return _image(self.system.arrived(self.system.analyzer(photo_sent), photo_sent))

    @torch.no_grad()
    def unrounded_psnr_db(self, secret: Image, cover: Image) -> tuple[float, float]:
        """Stego and reply against the cover when neither is clipped or rounded on its way."""
        photo_sent = _tensor(cover)
        stego = self.system.hider.hide(_tensor(photo.fit(secret, self.image_size_px)), photo_sent)
        return _psnr_db(stego, photo_sent), _psnr_db(self.system.analyzer(stego), photo_sent)

    @torch.no_grad()
    def probability(self, reply: Image, sent: Image) -> NDArray[np.float32]:
        """(S, S) of a mask or (K,) of classes."""
        hider = self.system.hider
        found: Tensor = self.system.head.probabilities(hider.recover(_tensor(reply)), hider.recover(_tensor(sent)))
        return found[0].numpy()


def _psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a.double() - b.double()).square().mean().clamp_min(1e-20)))


def _read(path: Path) -> Result:
    return json.loads(path.read_text()) if path.is_file() else {}


def _write(path: Path, content: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def _tensor(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def _image(image: Tensor) -> Image:
    return to_uint8(image)[0].permute(1, 2, 0).numpy()


@torch.no_grad()
def cost(system: System, config: ModelConfig) -> Result:
    """Parameters, and multiply-accumulates of one pass in 10^9.

    Hide and recover at the paper's size, as Table 7 has them; analyze at the model's, for which some are built.
    """
    image, small = (torch.rand(1, 3, side, side) for side in (PAPER_PX, config.image_size_px))

    def gmacs(*call: Any) -> float:
        function, *inputs = call
        with FlopCounterMode(display=False) as counter:
            function(*inputs)
        return counter.get_total_flops() / 2e9

    return {
        "parameters_hider": _count(system.hider),
        "parameters_analyzer": _count(system.analyzer),
        "gmacs_hide": gmacs(system.hider.hide, image, image),
        "gmacs_recover": gmacs(system.hider.recover, image),
        "gmacs_analyze": gmacs(system.analyzer, small),
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
