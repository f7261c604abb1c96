"""Where a run begins: with the weights of another, its hider alone, a teacher, a guide."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from hidemia.training.errors import TrainingError
from hidemia.training.guide import Guide
from hidemia.training.hinet import load_hinet
from hidemia.training.invertible import InvertibleHider
from hidemia.training.model import ModelConfig
from hidemia.training.plain import PlainNetwork, load_plain
from hidemia.training.recipe import Recipe
from hidemia.training.stages import OBJECTIVES
from hidemia.training.system import System
from hidemia.training.weights import load_weights


class Start(NamedTuple):
    """Where a run begins: with the weights of another, or with its hider alone, and at which stage, from 1.

    ``teacher`` is HiNet's checkpoint, for a recipe that has a teacher; ``plain`` are plain networks, for one that
    follows them.
    """

    weights: Path | None = None
    stage: int = 1
    hider: Path | None = None
    teacher: Path | None = None
    plain: tuple[Path, ...] = ()


FROM_NOTHING = Start()


def released(recipe: Recipe, checkpoint: Path) -> InvertibleHider:
    """HiNet's checkpoint as the teacher of a recipe."""
    teacher, found = load_hinet(checkpoint)
    if found != recipe.teacher:
        wanted = (
            "no teacher" if recipe.teacher is None else f"{recipe.teacher.blocks} blocks of {recipe.teacher.growth}"
        )
        raise TrainingError(
            f"{checkpoint}: expected {wanted}, as the recipe {recipe.model.name} has it, got {found.blocks} blocks of "
            f"{found.growth}; choose another recipe or leave out --teacher"
        )
    return teacher


def guide_of(recipe: Recipe, start: Start) -> Guide | None:
    """The plain networks of the recipe's task, where a stage that will run follows a guide."""
    model, folders = recipe.model, start.plain
    follows = any(OBJECTIVES[stage.objective].guided for stage in recipe.stages[start.stage - 1 :])
    if not follows and folders:
        raise TrainingError(
            f"--plain: expected none, as {model.name} follows no plain network, got {folders[0]}; leave it out"
        )
    if not follows:
        return None
    if not folders:
        raise TrainingError(
            f"--plain: expected a plain network, which {model.name} follows, got none; name the weights that "
            f"`hidemia train plain-{model.name}` writes"
        )
    try:
        return Guide([_plain_of(model, folder) for folder in folders])
    except ValueError as error:
        raise TrainingError(
            f"--plain: {error} among {', '.join(map(str, folders))}; train them by commands that differ in --seed and "
            "--noise alone"
        ) from error


def _plain_of(model: ModelConfig, folder: Path) -> PlainNetwork:
    """A plain network that tells what a model does."""
    network, found = load_plain(folder)
    if (found.task, found.classes) != (model.task, model.classes) or not isinstance(network, PlainNetwork):
        raise TrainingError(
            f"{folder}: expected a plain network of {model.name}, which tells {', '.join(model.classes)}, got "
            f"{found.network} of {found.name}; train plain-{model.name}"
        )
    return network


def fill(system: System, weights: Path) -> None:
    """Take over what another run learned; a seal or a verdict that it did not have keeps its start."""
    earlier, _ = load_weights(weights)
    try:
        missing, unknown = system.load_state_dict(earlier.state_dict(), strict=False)
    except RuntimeError as error:
        raise TrainingError(f"{weights}: does not fit the recipe: {' '.join(str(error).split())[:300]}") from error
    if unknown or any(not name.startswith(("analyzer.seals.", "analyzer.verdict.")) for name in missing):
        raise TrainingError(f"{weights}: does not fit the recipe, which differs in {(unknown + missing)[0]}")


def hide_as(system: System, recipe: Recipe, weights: Path) -> None:
    """Takes over the hider of another run."""
    earlier, model = load_weights(weights)
    if model.hider != recipe.model.hider:
        raise TrainingError(
            f"{weights}: expected a hider as {recipe.model.name} has it ({recipe.model.hider}), got that of "
            f"{model.name} ({model.hider}); name weights with such a hider"
        )
    system.hider.load_state_dict(earlier.hider.state_dict())


def taught_by(system: System, recipe: Recipe, weights: Path) -> InvertibleHider:
    """Takes over the analyzer of another run; its hider is the teacher, which the recipe's own learns from.

    What the analyzer writes the seal with is taken over too, to write another pattern.
    """
    earlier, model = load_weights(weights)
    if model.hider != recipe.teacher or _unsealed(model) != _unsealed(recipe.model):
        raise TrainingError(
            f"{weights}: expected the hider and analyzer of {recipe.pupil_of}, which {recipe.model.name} learns from, "
            f"got others of {model.name}; name the weights of {recipe.pupil_of}"
        )
    system.analyzer.load_state_dict(earlier.analyzer.state_dict())
    assert isinstance(earlier.hider, InvertibleHider)  # noqa: S101 - as the recipe's teacher is
    return earlier.hider


def _unsealed(model: ModelConfig) -> object:
    """The analyzer's settings, whatever pattern it writes."""
    return msgspec.structs.replace(model.analyzer, seal=None) if model.seal is not None else model.analyzer
