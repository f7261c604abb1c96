"""The orthonormal Haar transform and its inverse.

With ``a b`` over ``c d`` the four pixels of a 2x2 block::

    ll = ( a + b + c + d) / 2        hl = (-a + b - c + d) / 2   difference along columns
    lh = (-a - b + c + d) / 2        hh = ( a - b - c + d) / 2   difference along rows: lh

Channels are laid out band by band, colours inside: ``[ll RGB | hl RGB | lh RGB | hh RGB]``, the order of
HiNet's checkpoints. The paper's text lists LL, LH, HL, HH, so bands are always taken by name.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BANDS = ("ll", "hl", "lh", "hh")
HIGH_BANDS = ("hl", "lh", "hh")

# Rows: bands in the order of BANDS; columns: pixels a, b, c, d. Orthogonal, so its transpose inverts it.
HAAR = torch.tensor([[1.0, 1.0, 1.0, 1.0], [-1.0, 1.0, -1.0, 1.0], [-1.0, -1.0, 1.0, 1.0], [1.0, -1.0, -1.0, 1.0]]).div(
    2
)


def haar_kernel(colours: int = 3) -> Tensor:
    """The transform as a stride-2 convolution kernel, shape (4 * colours, colours, 2, 2), float32.

    The same kernel in a transposed convolution is the inverse, because the Haar matrix is orthogonal.
    """
    eye = torch.eye(colours)
    return torch.einsum("bp,oi->boip", HAAR, eye).reshape(4 * colours, colours, 2, 2)


_RGB = haar_kernel(3)


def dwt(image: Tensor) -> Tensor:
    """Haar transform: (B, 3, H, W) with even H and W -> (B, 12, H/2, W/2), in the image's precision.

    For an image in [0, 1], ``ll`` lies in [0, 2] and the others in [-1, 1].
    """
    with torch.autocast(image.device.type, enabled=False):  # bf16 would swallow what is hidden
        return F.conv2d(image, _RGB.to(image), stride=2)


def iwt(bands: Tensor) -> Tensor:
    """Inverse Haar transform: (B, 12, h, w) -> (B, 3, 2h, 2w). ``iwt(dwt(x)) == x`` up to rounding."""
    with torch.autocast(bands.device.type, enabled=False):
        return F.conv_transpose2d(bands, _RGB.to(bands), stride=2)


def split(bands: Tensor) -> dict[str, Tensor]:
    """(B, 12, h, w) -> the four bands by name, each (B, 3, h, w)."""
    return dict(zip(BANDS, bands.split(3, dim=1), strict=True))


def join(bands: dict[str, Tensor]) -> Tensor:
    """The bands by name, each (B, 3, h, w), in any order -> (B, 12, h, w)."""
    return torch.cat([bands[name] for name in BANDS], dim=1)
