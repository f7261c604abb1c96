"""Hiders built from invertible blocks: HiNet (16 blocks, the teacher) and LightIH (4 blocks, the student).

Section 3.3 and Fig. 3(b)-(c) of the paper; HiNet is Jing et al., ICCV 2021. Hiding runs the blocks forward
over the wavelet bands of cover ``c`` and secret ``s``::

    c' = c + phi(s)            s' = s * E(rho(c')) + eta(c')        E(v) = exp(2 tanh(v / 2))

and sends c' away as the stego. Recovery runs the same blocks, last first, backward::

    s = (s' - eta(c')) / E(rho(c'))            c = c' - phi(s)

with zeros in place of the lost s'. HiNet draws that latent at random; a medical result has to be repeatable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor, nn

from hidemia.training.roles import AnyHider
from hidemia.training.wavelet import dwt, iwt

BAND_CHANNELS = 12  # 4 bands x 3 colours


class HiderConfig(Struct, frozen=True, tag="invertible", tag_field="kind"):
    """Settings of `InvertibleHider`; the defaults are LightIH's."""

    blocks: int = 4
    growth: int = 32
    slope: float = 0.2

    def build(self) -> InvertibleHider:
        """Fresh networks."""
        return InvertibleHider(self.blocks, self.growth, self.slope)


class DenseSubnet(nn.Module):
    """Five 3x3 convolutions, each reading the input and all earlier outputs: phi, rho and eta of a block.

    (B, 12, h, w) -> (B, 12, h, w). The last convolution starts at zero: a fresh block is the identity.
    """

    def __init__(self, growth: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        for i in range(4):
            setattr(self, f"conv{i + 1}", nn.Conv2d(BAND_CHANNELS + i * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(BAND_CHANNELS + 4 * growth, BAND_CHANNELS, 3, padding=1)
        nn.init.zeros_(self.conv5.weight)
        nn.init.zeros_(self.conv5.bias)

    def forward(self, x: Tensor) -> Tensor:
        """The subnet's term of the coupling, in the precision of ``x``, which autocast leaves alone."""
        features = [x]
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            features.append(F.leaky_relu(conv(torch.cat(features, dim=1)), self.slope))
        return self.conv5(torch.cat(features, dim=1)).to(x.dtype)


def log_scale(v: Tensor) -> Tensor:
    """Logarithm of the coupling's factor E(v), bounded to [-2, 2] (HiNet's clamp 2.0)."""
    return 2 * torch.tanh(v / 2)


class InvertibleBlock(nn.Module):
    """One affine coupling. ``f``, ``r``, ``y`` are phi, rho, eta: HiNet's names, kept for its checkpoints."""

    def __init__(self, growth: int, slope: float) -> None:
        super().__init__()
        self.r = DenseSubnet(growth, slope)
        self.y = DenseSubnet(growth, slope)
        self.f = DenseSubnet(growth, slope)

    def hide(self, cover: Tensor, secret: Tensor) -> tuple[Tensor, Tensor]:
        """Forward: bands of cover and secret, each (B, 12, h, w) -> the same, mixed."""
        cover = cover + self.f(secret)
        return cover, secret * torch.exp(log_scale(self.r(cover))) + self.y(cover)

    def reveal(self, cover: Tensor, secret: Tensor | float) -> tuple[Tensor, Tensor]:
        """The inverse of `hide`; multiplied by exp(-...), never divided, so that float16 engines stay finite.

        The latent may be a number: the same for all, as in recovery, where it is 0.
        """
        secret = (secret - self.y(cover)) * torch.exp(-log_scale(self.r(cover)))
        return cover - self.f(secret), secret


class InvertibleHider(AnyHider):
    """H and R of the paper, one set of weights.

    Args:
        blocks: invertible blocks; 16 is HiNet (4,050,240 parameters), 4 is LightIH (1,012,560).
        growth: output channels of the inner convolutions of phi, rho and eta.
        slope: negative slope of their LeakyReLU (HiNet 0.01).
    """

    def __init__(self, blocks: int = 4, growth: int = 32, slope: float = 0.2) -> None:
        super().__init__()
        for i in range(blocks):
            self.add_module(f"inv{i + 1}", InvertibleBlock(growth, slope))

    def blocks(self) -> list[InvertibleBlock]:
        """The blocks in hiding order."""
        return list(self.children())  # type: ignore[arg-type]

    def hide_bands(self, cover: Tensor, secret: Tensor) -> tuple[Tensor, Tensor]:
        """All blocks forward, on bands (B, 12, h, w): -> (stego bands, the latent that is thrown away)."""
        for block in self.blocks():
            cover, secret = block.hide(cover, secret)
        return cover, secret

    def reveal_bands(self, stego: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """All blocks backward, the exact inverse of `hide_bands`: -> (cover bands, secret bands).

        For readers, and where the latent is known; `recover` has zeros for it and leaves out what is not wanted.
        """
        for block in reversed(self.blocks()):
            stego, latent = block.reveal(stego, latent)
        return stego, latent

    def hide(self, secret: Tensor, cover: Tensor) -> Tensor:
        """x_stego = H(x_secret, x_cover): images (B, 3, H, W) in [0, 1] -> the same, before the channel."""
        *inner, last = self.blocks()
        cover_bands, secret_bands = dwt(cover), dwt(secret)
        for block in inner:
            cover_bands, secret_bands = block.hide(cover_bands, secret_bands)
        return iwt(cover_bands + last.f(secret_bands))  # the last block's s' would be thrown away

    def recover(self, photo: Tensor) -> Tensor:
        """R: a stego or reply (B, 3, H, W) in [0, 1] -> what is hidden in it, (B, 3, H, W), unclipped."""
        first, *inner = self.blocks()
        cover = dwt(photo)
        secret: Tensor | float = 0.0  # the lost latent
        for block in reversed(inner):
            cover, secret = block.reveal(cover, secret)
        secret = (secret - first.y(cover)) * torch.exp(-log_scale(first.r(cover)))  # its cover is not wanted
        return iwt(secret)


def light_ih(growth: int = 32, slope: float = 0.2) -> InvertibleHider:
    """LightIH by its name in the paper: four blocks. Recipes have it as `HiderConfig`."""
    return InvertibleHider(blocks=4, growth=growth, slope=slope)


def hinet() -> InvertibleHider:
    """HiNet, the teacher, by its name: sixteen blocks with the slope of its authors. Recipes have a `HiderConfig`."""
    return InvertibleHider(blocks=16, growth=32, slope=0.01)
