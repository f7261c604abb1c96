"""Whether a reply answers the photo that was sent, and how surely: pure functions of pixels, seal and limits."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hidemia.runtime import similarity, veil
from hidemia.runtime.arrays import Image
from hidemia.runtime.errors import ReplyError
from hidemia.runtime.manifest import ReplyLimits
from hidemia.runtime.result import Integrity
from hidemia.runtime.veil import Veil

__all__ = ["SEALED", "check_distance", "check_seal", "unveiled"]

SEALED = 0.5
"""Agreement from which a tile carries the seal; trained to 1, and to -1 where nothing is hidden."""


def unveiled(reply: Image, sent: Image, pair: Veil) -> Image:
    """Take the veil off a reply; the other checks judge what is under it.

    Args:
        reply: uint8 (S, S, 3), RGB, as the server returned it.
        sent: uint8 (S, S, 3), RGB, the stego as it was sent.
        pair: The veil of the manifest.

    Returns:
        uint8 (S, S, 3), RGB: what the analyzer answered.

    Raises:
        ReplyError: The reply equals what was sent, lies outside the veil's windows or differs in a colour that stays,
            or was not made for this photo by a server of this pair, as it stands.
    """
    _check_echo(similarity.changed_share(reply, sent))
    beyond = veil.outside(reply, sent, pair)
    if beyond:
        raise ReplyError(
            f"reply: expected the photo sent but for the veil's {pair}, "
            f"got {beyond} of {reply.size} values beyond; another photo was answered or it was altered: send again"
        )
    lifted = veil.lift(reply, sent, pair)
    if not lifted.is_genuine:
        raise ReplyError(
            "reply: expected the mark of this pair's server on this very reply, got another; "
            "another server answered or it was altered on the way: send again, and see what lies in between"
        )
    return lifted.reply


def check_distance(reply: Image, sent: Image, limits: ReplyLimits) -> Integrity:
    """Judge a reply by its distance to what was sent, before anything is recovered from it.

    Args:
        reply: uint8 (S, S, 3), RGB, as the server returned it, its veil taken off.
        sent: uint8 (S, S, 3), RGB, the stego as it was sent.
        limits: The manifest's.

    Returns:
        How far the two are apart; its seal is not judged yet.

    Raises:
        ReplyError: The reply equals what was sent, lies too far from it, in all or in the low band, or hardly differs.
    """
    changed = similarity.changed_share(reply, sent)
    _check_echo(changed)
    decibel = similarity.psnr(reply, sent)
    if decibel < limits.min_psnr_db:
        raise ReplyError(
            f"reply: expected at least {limits.min_psnr_db:.1f} dB against the photo sent, "
            f"got {decibel:.1f} dB; it answers another photo or was altered on the way: send again"
        )
    if changed < limits.min_changed_share:
        raise ReplyError(
            f"reply: expected at least {limits.min_changed_share:.1%} of values to differ from the photo "
            f"sent, got {changed:.1%}; the server did not analyse it: check the address"
        )
    low, most = similarity.low_change(reply, sent), limits.max_low_change
    if most is not None and low > most:
        raise ReplyError(
            f"reply: expected the means of 2x2 px within {most:.2f} levels of those of the photo sent, got {low:.2f}; "
            "it was analysed more than once or altered on the way: send again, and see what lies in between"
        )
    return Integrity(psnr_db=decibel, changed_share=changed, low_change=low)


def _check_echo(changed: float) -> None:
    if changed == 0:
        raise ReplyError(
            "reply: expected a photo that differs from the one sent, got the same photo; "
            "the server did not analyse it: check the address"
        )


def check_seal(integrity: Integrity, seal: NDArray[Any], limits: ReplyLimits) -> Integrity:
    """Judge a reply by the pattern that this model's analyzer writes where it answers.

    Args:
        integrity: What `check_distance` found.
        seal: float32 (T, T), agreement of each tile with the pattern; trained to 1 at least.
        limits: The manifest's, with a share of tiles that must carry it.

    Returns:
        The same, with the share of tiles that do, and how strongly all of them do on average.

    Raises:
        ReplyError: Too few do, or they carry it more strongly than one analysis writes it.
    """
    least = limits.min_seal_share or 0.0
    share = float(np.mean(seal >= SEALED)) if np.isfinite(seal).all() else 0.0
    if share < least:
        raise ReplyError(
            f"reply: expected the seal of this model's analyzer in at least {least:.1%} of it, "
            f"got {share:.1%}; another model answered, it was altered on the way, or the image is none for this "
            "model: send again once"
        )
    strength, most = float(np.mean(seal)), limits.max_seal_strength
    if most is not None and strength > most:
        raise ReplyError(
            f"reply: expected the seal of this model's analyzer with a strength of {most:.3f} at most, "
            f"got {strength:.3f}; it was analysed more than once: send again, and see what lies in between"
        )
    return dataclasses.replace(integrity, seal_share=share, seal_strength=strength)
