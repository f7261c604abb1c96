"""The three verbs as graphs: uint8 photos in and out, everything else inside.

Each is a thin wrapper around trained networks, traced to ONNX by `hidemia.export.writing`. Photos are
(batch, height, width, 3) RGB, so that a device in any language feeds pixels and gets pixels. They are cast to float
before anything else and to uint8 after everything else: TensorRT takes uint8 into a cast and out of one alone.
"""

from __future__ import annotations

import copy
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from hidemia.export.deploy import Form, deployed
from hidemia.export.folding import folded
from hidemia.export.hider import DeployedHider, HiderForm
from hidemia.training.analyzer import Analyzer
from hidemia.training.channel import Reach, held, to_uint8
from hidemia.training.heads import ClassificationHead, GridMean, SegmentationHead
from hidemia.training.invertible import InvertibleHider
from hidemia.training.roles import AnyAnalyzer, AnyHider
from hidemia.training.seal import agreement
from hidemia.training.system import System

Head: TypeAlias = SegmentationHead | ClassificationHead


def pixels_in(photo: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [0, 1]."""
    return photo.float().permute(0, 3, 1, 2) / 255


def pixels_out(image: Tensor) -> Tensor:
    """(B, 3, H, W) float -> (B, H, W, 3) uint8: what a PNG can carry."""
    return to_uint8(image.permute(0, 2, 3, 1))


def fast_hider(
    hider: AnyHider, direction: Literal["hide", "recover"], form: HiderForm, image_size_px: int
) -> DeployedHider | AnyHider:
    """A hider in the form it is deployed in; those that are not invertible have one form."""
    if isinstance(hider, InvertibleHider):
        return DeployedHider(hider, direction, form, image_size_px)
    return folded(hider)


def fast_analyzer(analyzer: AnyAnalyzer, form: Form, image_size_px: int) -> AnyAnalyzer:
    """An analyzer in the form it is deployed in; those that mix no kernels have one form, for every batch."""
    return deployed(analyzer, form, image_size_px) if isinstance(analyzer, Analyzer) else folded(analyzer)


def within_reach(reply: Tensor, photo: Tensor, reach: Reach | None) -> Tensor:
    """A reply to a photo, both (B, 3, H, W), held to the reach of the veil where there is one."""
    return reply if reach is None else held(reply, photo, reach)


class FixedGridMean(GridMean):
    """`GridMean` for images of one size, as two products with constant matrices.

    ONNX has no pooling into a grid that does not divide the image.
    """

    windows: Tensor

    def __init__(self, count: int, image_size_px: int) -> None:
        super().__init__(count)
        windows = torch.zeros(count, image_size_px)
        for i in range(count):
            first, end = i * image_size_px // count, -(-(i + 1) * image_size_px // count)
            windows[i, first:end] = 1 / (end - first)
        self.register_buffer("windows", windows)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, S, S) -> (B, C, count, count)."""
        return self.windows @ image @ self.windows.T


def fixed_head(head: Head, image_size_px: int) -> Head:
    """A head for images of one size."""
    fixed = copy.deepcopy(head)
    if isinstance(fixed, ClassificationHead):
        fixed.means = FixedGridMean(fixed.means.count, image_size_px)
    return fixed


class Hide(nn.Module):
    """secret, cover -> stego."""

    def __init__(self, system: System, form: HiderForm, image_size_px: int) -> None:
        super().__init__()
        self.hider = fast_hider(system.hider, "hide", form, image_size_px)

    def forward(self, secret: Tensor, cover: Tensor) -> Tensor:
        return pixels_out(self.hider.hide(pixels_in(secret), pixels_in(cover)))


class Analyze(nn.Module):
    """stego -> reply, its veil not yet put on: `hidemia.runtime.veil` does that, on whole levels."""

    def __init__(self, system: System, form: Form, image_size_px: int) -> None:
        super().__init__()
        self.analyzer = fast_analyzer(system.analyzer, form, image_size_px)
        self.reach = system.reach

    def forward(self, stego: Tensor) -> Tensor:
        photo = pixels_in(stego)
        return pixels_out(within_reach(self.analyzer(photo), photo, self.reach))


class Recover(nn.Module):
    """reply, sent -> probability, and seal where the analyzer writes one.

    ``probability`` is (B, H, W) of a mask or (B, K) of classes, float32; ``seal`` is the agreement of each tile,
    (B, 8, 8) float32, see `hidemia.training.seal`. Reply and stego pass through R as one batch of twice the size.
    """

    def __init__(self, system: System, form: HiderForm, image_size_px: int) -> None:
        super().__init__()
        self.hider = fast_hider(system.hider, "recover", form, image_size_px)
        self.head, self.side = fixed_head(system.head, image_size_px), image_size_px
        self.signs = system.analyzer.signs if system.analyzer.seal is not None else None

    def forward(self, reply: Tensor, sent: Tensor) -> tuple[Tensor, ...]:
        pair = torch.stack([reply.float(), sent.float()], dim=1).reshape(-1, self.side, self.side, 3)
        revealed = self.hider.recover(pixels_in(pair)).reshape(-1, 2, 3, self.side, self.side)
        recovered, reference = revealed[:, 0], revealed[:, 1]
        probability = self.head.probabilities(recovered, reference)
        if self.signs is None:
            return (probability,)
        return probability, agreement(recovered, reference, self.signs)
