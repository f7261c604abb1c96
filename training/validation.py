"""Figures of a system on the validation split, while it trains: what choices are made by."""

from __future__ import annotations

import torch
from torch import Tensor

from hidemia.training.channel import to_uint8, veiled
from hidemia.training.data import Scans, scaled
from hidemia.training.heads import ClassificationHead
from hidemia.training.system import System
from hidemia.training.wavelet import dwt, split


def psnr_db(a: Tensor, b: Tensor) -> Tensor:
    """Per image, from 8-bit values: (B, 3, H, W) float in [0, 1] -> (B,) dB."""
    error = (to_uint8(a).double() - to_uint8(b).double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(255**2 / error.clamp_min(1e-9))


def dice(prediction: Tensor, truth: Tensor) -> Tensor:
    """Dice similarity per image: boolean (B, H, W) -> (B,). Two empty masks agree fully."""
    overlap = (prediction & truth).sum(dim=(1, 2)).double()
    total = (prediction.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))).double()
    return torch.where(total > 0, 2 * overlap / total.clamp_min(1), 1.0)


def balanced_accuracy(prediction: Tensor, labels: Tensor) -> float:
    """Accuracy of each class that is there, averaged over classes: (N,), (N,) -> 0..1."""
    right = (prediction == labels).double()
    return torch.stack([right[labels == label].mean() for label in labels.unique()]).mean().item()


@torch.no_grad()
def validate(system: System, scans: Scans, covers: Tensor, size_px: int, batch: int = 16) -> dict[str, float]:
    """Means over the scans given, one cover each, after the channel: PSNR of stego, reply and R(stego), the task.

    The reply is the one that travels, under its veil where there is one.
    R(stego) is compared with the scan: what R has lost a photo hardly holds.

    Where the analyzer gives a `hidemia.training.verdict`, also how good that is before it is written into a reply.
    """
    training, device = system.training, next(system.parameters()).device
    draw = torch.Generator().manual_seed(0)
    system.eval()
    stego_db, reply_db, reference_db, task, answers, verdicts = [], [], [], [], [], []
    for start in range(0, len(scans.images), batch):
        picks = torch.arange(start, min(start + batch, len(scans.images)))
        secret = scaled(scans.images[picks].to(device), size_px)
        cover = scaled(covers[picks % len(covers)].to(device), size_px)
        trip = system(secret, cover)
        stego_db.append(psnr_db(trip.stego, cover))
        sent_back = trip.reply if system.reach is None else veiled(trip.stego, system.reach, draw)
        reply_db.append(psnr_db(sent_back, cover))
        reference_db.append(psnr_db(trip.reference, secret))
        if isinstance(system.head, ClassificationHead):
            answers.append(trip.logits.argmax(dim=1).cpu())
            judged = system.analyzer.features(split(dwt(trip.stego))).verdict
            if judged is not None:
                verdicts.append(judged.argmax(dim=1).cpu())
        elif scans.masks is not None:
            truth = scaled(scans.masks[picks].to(device), size_px)[:, 0] > 0.5
            task.append(dice(trip.logits[:, 0] > 0, truth))
    system.train(training)
    figures = {
        name: torch.cat(values).mean().item()
        for name, values in (
            ("stego_psnr_db", stego_db), ("reply_psnr_db", reply_db), ("reference_psnr_db", reference_db)
        )
    }  # fmt: skip
    if answers:
        prediction = torch.cat(answers)
        figures["accuracy"] = (prediction == scans.labels).double().mean().item()
        figures["balanced_accuracy"] = balanced_accuracy(prediction, scans.labels)
        if verdicts:
            figures["judged_balanced_accuracy"] = balanced_accuracy(torch.cat(verdicts), scans.labels)
    elif task:
        figures["dsc"] = torch.cat(task).mean().item()
    return figures
