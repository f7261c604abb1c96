"""What a device needs to judge a reply, set on the validation split: the mask's threshold and the reply's limits.

Training sets them at its end, after the offsets of a verdict (`hidemia.training.offsets`). ``python -m
hidemia.training.thresholds --weights DIR --data DIR --covers DIR`` sets all of that anew for weights that are there
already; offsets are added to what is there. It changes ``config.json``, and in ``analyzer.safetensors`` what a verdict
adds to each class. Both bundles must be exported afterwards, and where offsets changed INT8 calibrated anew: a client
works with the server of its own weights alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hidemia.training.channel import to_uint8
from hidemia.training.data import Scans, read_covers, read_scans_of, scaled, spread
from hidemia.training.errors import one_line
from hidemia.training.model import ModelConfig
from hidemia.training.offsets import set_offsets
from hidemia.training.seal import SEALED, agreement
from hidemia.training.system import System
from hidemia.training.validation import dice, psnr_db
from hidemia.training.weights import load_weights, save_config, save_judge

CANDIDATES = torch.linspace(0.2, 0.8, 25)
READABLE = CANDIDATES[4:]  # from 0.3 on: where nothing is written, the differential form says sigmoid(-1) = 0.27
PROG = "python -m hidemia.training.thresholds"
MARGIN_DB = 6.0  # below the worst reply of the validation split
MARGIN = 0.2  # above what honest replies reach, at least, of the low change and of the strength of the seal
SEAL_MARGIN = 0.05  # below the share of sealed tiles of honest replies, at least
MOST_IMAGES = 200
CLIPPED_LEVELS = 8  # of black or white: an answer moves hardly a value by more


@torch.no_grad()
def with_thresholds(system: System, model: ModelConfig, scans: Scans, covers: Tensor) -> ModelConfig:
    """The configuration with its thresholds set, from one trip for each of at most `MOST_IMAGES` (`data.spread`).

    The mask's threshold is the candidate with the best mean Dice. A reply must differ from what was sent in at
    least a quarter of the share of values that the least changed one differs in, and lie at most 6 dB further
    from it than the most changed one. How far the means of its 2x2 px may lie from it: see `low_limit`. The share
    of its tiles that must carry the seal: see `seal_limit`. How strongly they may carry it on average: see
    `strength_limit`.

    Under a veil a device refuses, before it asks any of that, whatever the pair's server did not make for its photo.
    The limits are set alike all the same, and mostly tell photos apart in which nothing is hidden.
    """
    system.eval()
    scans = spread(scans, MOST_IMAGES)
    distances, changes, overlaps, once, twice = [], [], [], [], []
    seals: list[list[Tensor]] = []
    for i in range(len(scans.images)):
        secret = scaled(scans.images[i : i + 1], model.image_size_px)
        cover = scaled(covers[i % len(covers)][None], model.image_size_px)
        trip = system(secret, cover)
        distances.append(psnr_db(trip.reply, trip.stego))
        changes.append((to_uint8(trip.reply) != to_uint8(trip.stego)).double().mean())
        again = system.arrived(system.analyzer(trip.reply), trip.reply)
        once.append(low_change(trip.reply, trip.stego))
        twice.append(low_change(again, trip.stego))
        if model.seal is not None:
            photos = (trip.reply, again, cut(trip.reply, cover))
            recovered = (system.hider.recover(photo) for photo in photos)
            seals.append([agreement(found, trip.reference, system.analyzer.signs) for found in recovered])
        if scans.masks is not None:
            truth = scaled(scans.masks[i : i + 1], model.image_size_px)[:, 0] > 0.5
            probability = system.head.probabilities(trip.recovered, trip.reference)
            overlaps.append(torch.stack([dice(probability >= limit, truth)[0] for limit in READABLE]))
    threshold = model.mask_threshold
    if overlaps:
        threshold = READABLE[torch.stack(overlaps).mean(dim=0).argmax()].item()
    share, strength = seal_limits(seals) if seals else (None, None)
    return dataclasses.replace(
        model,
        mask_threshold=round(threshold, 3),
        reply_min_psnr_db=round(torch.cat(distances).min().item() - MARGIN_DB, 1),
        reply_min_changed_share=round(torch.stack(changes).min().item() / 4, 4),
        reply_max_low_change=low_limit(max(once), min(twice)),
        reply_min_seal_share=share,
        reply_max_seal_strength=strength,
    )


def cut(reply: Tensor, cover: Tensor) -> Tensor:
    """A reply that lost a quarter: the cover in a square at its middle, half as high and wide; both (1, 3, H, W)."""
    height, width = reply.shape[2] // 4, reply.shape[3] // 4
    damaged = reply.clone()
    damaged[:, :, height:-height, width:-width] = cover[:, :, height:-height, width:-width]
    return damaged


def seal_limits(seals: list[list[Tensor]]) -> tuple[float, float | None]:
    """The limits on the share of sealed tiles and on their strength.

    From the agreement, (1, 8, 8), of each honest reply, of it analysed twice, and of what is left when it is `cut`.
    """
    shares = torch.stack([torch.stack([(agreed >= SEALED).double().mean() for agreed in row]) for row in seals])
    strengths = torch.stack([torch.stack([agreed.mean() for agreed in row]) for row in seals])
    return (
        seal_limit(shares[:, 0].min().item(), shares[:, 2].max().item()),
        strength_limit(strengths[:, 0].max().item(), strengths[:, 1].min().item()),
    )


def seal_limit(whole: float, partial: float) -> float:
    """The share of tiles that must carry the seal, from the least sealed honest reply and the most sealed `cut` one.

    It lies half way between them, but at least a twentieth below the first, and never below a half.
    """
    return round(max(0.5, min((whole + partial) / 2, (1 - SEAL_MARGIN) * whole)), 4)


def strength_limit(once: float, twice: float) -> float | None:
    """The limit on the mean agreement with the seal, from the strongest honest reply and the weakest analysed twice.

    It lies half way between them, and where they lie close a fifth above the first, as `low_limit` does. None where not
    even the first agrees: a manifest takes no limit of 0.
    """
    return (round(max((once + twice) / 2, (1 + MARGIN) * once), 3) or None) if once > 0 else None


def low_change(reply: Tensor, stego: Tensor) -> float:
    """Root mean square change of the means of 2x2 px, in levels, of photos (1, 3, H, W) in [0, 1].

    Means with a value near black or white, where a change may have been clipped, are left out; 0 where all are. The
    device measures the same on its photos.
    """
    original = to_uint8(stego).double()
    change = F.avg_pool2d(to_uint8(reply).double() - original, 2)
    room = -F.max_pool2d(-torch.minimum(original, 255 - original), 2)
    counts = room >= CLIPPED_LEVELS
    return change[counts].square().mean().sqrt().item() if counts.any() else 0.0


def low_limit(once: float, twice: float) -> float | None:
    """The limit on `low_change`, from the most changed honest reply and the least changed one analysed twice.

    It lies half way between them. Where they lie close, or overlap, it lies a fifth above the first: a device would
    rather take a reply that was analysed twice than refuse an honest one, and it still refuses what is no reply. None
    where there was hardly a change to measure.
    """
    return round(max((once + twice) / 2, (1 + MARGIN) * once), 3) or None


@one_line(PROG)
def main(arguments: list[str]) -> int:
    """Set the offsets, thresholds and limits of trained weights anew, on the validation split."""
    parser = argparse.ArgumentParser(prog=PROG, description=main.__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="a model: weights/NAME, which is renewed")
    parser.add_argument("--data", type=Path, required=True, help="medical images: index.csv, or as downloaded")
    parser.add_argument("--covers", type=Path, required=True, help="any folder of photos")
    options = parser.parse_args(arguments)
    system, model = load_weights(options.weights)
    scans = read_scans_of(model, options.data, "val")
    covers = read_covers(options.covers, "val", model.image_size_px)
    done = set_offsets(system, scans, covers, model.image_size_px)
    config = with_thresholds(system, model, scans, covers)
    if done:
        save_judge(system, options.weights)
        sys.stdout.write(f"{done}\n")
    save_config(config, options.weights)
    for name in ("mask_threshold", *(key for key in dataclasses.asdict(config) if key.startswith("reply_"))):
        sys.stdout.write(f"{name}: {getattr(model, name)} -> {getattr(config, name)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
