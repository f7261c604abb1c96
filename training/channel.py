"""The channel between device and server: a photo of 8 bits a colour, stored as PNG."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

# Of a veil, see `hidemia.runtime.veil`, which devices import without torch.
MOST_REACH = 16
Colours: TypeAlias = Literal["all", "blue"]
FIRST_FREE: dict[Colours, int] = {"all": 0, "blue": 2}


class Reach(NamedTuple):
    """How far a reply may differ from its stego under a veil: by so many levels, in these colours."""

    levels: int
    colours: Colours = "all"

    def parts(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """The colours in which it may not, and those in which it may: of (B, 3, H, W)."""
        first = FIRST_FREE[self.colours]
        return photo[:, :first], photo[:, first:]

    def require(self) -> None:
        """Raises ValueError: no veil reaches so far, or lies in such colours."""
        if not 1 <= self.levels <= MOST_REACH or self.colours not in FIRST_FREE:
            raise ValueError(
                f"reach: expected 1 to {MOST_REACH} levels in all colours or blue, got {self.levels} in {self.colours}"
            )

    def __str__(self) -> str:
        """In words, as errors have it."""
        return f"{self.levels} in {'blue' if self.colours == 'blue' else 'all colours'}"


def transmit(image: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the 256 levels of a PNG; the gradient passes straight through.

    (B, C, H, W) float32 -> the same shape. Forward it is exactly what the other side reads, backward the
    identity, also outside [0, 1], so that a clipped pixel can still come back.
    """
    received = image.clamp(0, 1).mul(255).round().div(255)
    return image + (received.detach() - image.detach())


def held(reply: Tensor, stego: Tensor, reach: Reach) -> Tensor:
    """A reply held to the stego, as near as what travels under a veil of that reach.

    Both (B, 3, H, W), the stego as it was received: whole levels. Rounded, the reply is as near too. What is cut off
    gets no gradient and has to be pulled back (`losses.excess_loss`): a training in blue through which it passed
    straight diverged (docs/research.md).
    """
    most = reach.levels / 255
    (_, written), (still, free) = reach.parts(reply), reach.parts(stego)
    near = free + (written - free).clamp(-most, most)
    return near if reach.colours == "all" else torch.cat([still, near], dim=1)


def veiled(stego: Tensor, reach: Reach, draw: torch.Generator) -> Tensor:
    """What travels in the place of a reply: (B, 3, H, W), values evenly drawn from their windows around the stego's.

    That is all that anyone without the key can tell of it (`hidemia.runtime.veil`), so no reply is asked for.
    """
    still, free = reach.parts(to_uint8(stego).float())
    drawn = torch.randint(0, 2 * reach.levels + 1, free.shape, generator=draw).to(free)
    lowest = (free - reach.levels).clamp(0, 255 - 2 * reach.levels)
    return torch.cat([still, lowest + drawn], dim=1) / 255


def to_uint8(image: Tensor) -> Tensor:
    """(B, C, H, W) float in [0, 1] -> (B, C, H, W) uint8, clipped and rounded."""
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)
