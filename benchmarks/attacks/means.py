"""What the attacker has besides the photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Means:
    """What the attacker has.

    Attributes:
        data, covers: Medical images and photos.
        other: Weights of another training of the same architecture; None trains a hider.
        rivals: Weights of other hiders, for the learning curves.
    """

    data: Path
    covers: Path
    other: Path | None = None
    rivals: tuple[Path, ...] = ()
