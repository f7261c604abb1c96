"""What a recipe is: a model, and the stages that train it."""

from __future__ import annotations

from dataclasses import dataclass

from hidemia.training.invertible import HiderConfig
from hidemia.training.model import ModelConfig
from hidemia.training.objective import StageConfig


@dataclass(frozen=True)
class Recipe:
    """A model and the stages that train it.

    Attributes:
        teacher: the hider from which the model's own is distilled, for the stages that use it; never shipped.
        start: the model from whose weights it starts, given by ``--start``; None starts from nothing.
        hider_of: the model whose hider, given by ``--start``, it starts with; its analyzer starts from nothing.
        pupil_of: the model whose hider, given by ``--start``, is the teacher, and whose analyzer goes on learning.
        balanced: share of each batch that is drawn class by class, where classes are rare; what that leaves uneven
            is evened in the end, see `hidemia.training.offsets`.
        upright: whether its scans have an up and a down; those that have none are turned by quarters as well.

    Raises:
        ValueError: the last stage learns under another veil than the model will have.
    """

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    seed: int = 0
    teacher: HiderConfig | None = None
    start: str | None = None
    hider_of: str | None = None
    pupil_of: str | None = None
    balanced: float = 0.0
    upright: bool = True

    def __post_init__(self) -> None:
        if self.stages and self.stages[-1].reach not in (None, self.model.reach):
            raise ValueError(
                f"{self.model.name}: expected its last stage under no veil or that of the model, of reach "
                f"{self.model.reach}, got {self.stages[-1].reach}"
            )

    @property
    def origin(self) -> str | None:
        """The model whose weights ``--start`` has to name."""
        return self.start or self.hider_of or self.pupil_of
