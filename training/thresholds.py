"""What a device needs to judge a reply, set on the validation split: the mask's threshold and the reply's limits."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hidemia.training.channel import to_uint8
from hidemia.training.data import Scans, scaled
from hidemia.training.recipes import ModelConfig
from hidemia.training.seal import SEALED, agreement
from hidemia.training.system import System
from hidemia.training.validation import dice, psnr_db

CANDIDATES = torch.linspace(0.2, 0.8, 25)
MARGIN_DB = 6.0  # below the worst reply of the validation split


@torch.no_grad()
def with_thresholds(system: System, model: ModelConfig, scans: Scans, covers: Tensor) -> ModelConfig:
    """The configuration with its thresholds set, from one trip for each image of the split.

    The mask's threshold is the candidate with the best mean Dice. A reply must differ from what was sent in at
    least a quarter of the share of values that the least changed one differs in, and lie at most 6 dB further
    from it than the most changed one. The share of its tiles that must carry the seal: see `seal_limit`.
    """
    system.eval()
    distances, changes, overlaps, sealed = [], [], [], []
    for i in range(len(scans.images)):
        secret = scaled(scans.images[i : i + 1], model.image_size_px)
        cover = scaled(covers[i % len(covers)][None], model.image_size_px)
        trip = system(secret, cover)
        distances.append(psnr_db(trip.reply, trip.stego))
        changes.append((to_uint8(trip.reply) != to_uint8(trip.stego)).double().mean())
        if model.seal is not None:
            agreed = agreement(trip.recovered, trip.reference, system.analyzer.signs)
            sealed.append((agreed >= SEALED).double().mean().item())
        if scans.masks is not None:
            truth = scaled(scans.masks[i : i + 1], model.image_size_px)[:, 0] > 0.5
            probability = system.head.probabilities(trip.recovered, trip.reference)
            overlaps.append(torch.stack([dice(probability >= limit, truth)[0] for limit in CANDIDATES]))
    threshold = model.mask_threshold
    if overlaps:
        threshold = CANDIDATES[torch.stack(overlaps).mean(dim=0).argmax()].item()
    return dataclasses.replace(
        model,
        mask_threshold=round(threshold, 3),
        reply_min_psnr_db=round(torch.cat(distances).min().item() - MARGIN_DB, 1),
        reply_min_changed_share=round(torch.stack(changes).min().item() / 4, 4),
        reply_min_seal_share=seal_limit(min(sealed)) if sealed else None,
    )


def seal_limit(least: float) -> float:
    """The share of tiles that must carry the seal, from that of the least sealed honest reply; both in 0..1.

    It lies half way down to what a reply with a quarter cut out still carries, and never below a half.
    """
    return round(max(0.5, (0.75 + least) / 2), 4)
