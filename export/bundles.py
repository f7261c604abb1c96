"""A trained model -> client and server bundles, each precision checked and all written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import torch

from hidemia.export import calibration
from hidemia.export.freshness import MEASURED
from hidemia.export.parity import BACKENDS
from hidemia.export.probes import Probes, spread
from hidemia.export.proof import PARITY_PROBES, Export, prove, with_variants
from hidemia.export.publishing import published, write
from hidemia.export.quantize import LAYOUTS, Layout
from hidemia.export.tracing import Exported, traced
from hidemia.export.trip import Figures
from hidemia.export.veiling import pair_veil
from hidemia.runtime import manifest as manifests
from hidemia.runtime.engine import usable_threads
from hidemia.runtime.manifest import Manifest, Precision, ReplyLimits, Role
from hidemia.runtime.veil import Veil
from hidemia.training.model import ModelConfig
from hidemia.training.weights import load_weights

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")  # the manifest's order: the first is the default


def export_model(
    weights: Path,
    out: Path,
    probes: Probes,
    *,
    public_key: bool,
    precisions: Sequence[Precision] | None = None,
    server_precisions: Sequence[Precision] = PRECISIONS,
    layouts: Sequence[Layout] = LAYOUTS[:1],
    key: str | None = None,
) -> Export:
    """Write ``out/client`` and ``out/server`` from a folder of weights.

    Args:
        weights: made by `hidemia train`.
        out: its client and server are replaced as a whole, once everything is proven.
        probes: trips that every graph and every precision is checked with.
        public_key: whether the weights are published, so that anyone can recover.
        precisions: FP32, the reference, and what is wanted beside it; what the weights allow when None.
        server_precisions: of these, what the server's bundle keeps; an analyzer is large. All are proven.
        layouts: for whom int8 is written: ``cpu``, and ``tensorrt``, which reads no other.
        key: what this export depends on, see `hidemia.export.freshness`; kept in ``measured.json``.

    Returns:
        What was exported, with its parity, latency and figures.

    Raises:
        TrainingError: the weights are missing or do not fit their configuration.
        ExportError: a graph breaks a rule, differs from PyTorch by more than is allowed, or costs more than its
            precision may; there is no calibration of these weights; the folder cannot be written; the key of the veil
            cannot be had.
    """
    system, config = load_weights(weights)
    wanted = offered(weights) if precisions is None else [name for name in PRECISIONS if name in precisions]
    ranges = calibration.load(weights) if "int8" in wanted else None
    with published(out, ("client", "server")) as folder:
        made = traced(system, config)
        fp32 = prove(system, config, made, spread(probes, PARITY_PROBES))
        export = with_variants(fp32, wanted, ranges, probes, manifest_threshold(config), layouts)
        hashes = calibration.weights_sha256(weights)
        pair_id = _sha256("".join(hashes.values()).encode())
        veil = pair_veil(weights, config.reach, pair_id, public_key=public_key)
        halves: tuple[tuple[Role, str], ...] = (("client", "hider"), ("server", "analyzer"))
        for role, part in halves:
            kept = PRECISIONS if role == "client" else server_precisions
            mine = [
                item
                for item in export.graphs
                if item.graph.verb in manifests.VERBS[role] and item.graph.precision in kept
            ]
            manifest = _manifest(config, role, pair_id, veil, mine, {part: hashes[part]}, public_key=public_key)
            _write_bundle(folder / role, manifest, mine, export.trips, len(probes), key)
    return export


def offered(weights: Path) -> list[Precision]:
    """The precisions that a folder of weights allows: INT8 needs a calibration."""
    return [name for name in PRECISIONS if name != "int8" or (weights / calibration.FILE_NAME).is_file()]


def manifest_threshold(config: ModelConfig) -> float | None:
    """The threshold of masks; None where there are none."""
    return config.mask_threshold if config.task == "segmentation" else None


def _manifest(
    config: ModelConfig,
    role: Role,
    pair_id: str,
    veil: Veil | None,
    items: list[Exported],
    hashes: dict[str, str],
    *,
    public_key: bool,
) -> Manifest:
    return Manifest(
        schema_version=manifests.SCHEMA_VERSION,
        name=config.name,
        role=role,
        pair_id=pair_id,
        task=config.task,  # type: ignore[arg-type]
        classes=list(config.classes),
        image_size_px=config.image_size_px,
        mask_threshold=manifest_threshold(config),
        reply_limits=ReplyLimits(
            min_psnr_db=config.reply_min_psnr_db,
            min_changed_share=config.reply_min_changed_share,
            max_low_change=config.reply_max_low_change,
            min_seal_share=config.reply_min_seal_share,
            max_seal_strength=config.reply_max_seal_strength,
        )
        if role == "client"
        else None,
        veil=veil,
        graphs=[item.graph for item in items],
        weights_sha256=hashes,
        exporter={"hidemia": metadata.version("hidemia"), "torch": torch.__version__.split("+")[0]},
        licence=config.licence,
        intended_use=config.intended_use,
        public_key=public_key,
    )


def _write_bundle(
    folder: Path,
    manifest: Manifest,
    items: list[Exported],
    trips: Mapping[Precision, Mapping[str, Figures]],
    images: int,
    key: str | None,
) -> None:
    """The manifest comes last: without it the folder is no bundle."""
    # The umask must not make a private hider, or the key of a private veil, readable by all.
    private = not manifest.public_key and (manifest.role == "client" or manifest.veil is not None)
    folder.mkdir(mode=0o700 if private else 0o777)
    for item in items:
        write(folder / item.graph.path, item.data)
    measured: dict[str, Any] = {
        "key": key,
        "environment": {
            "machine": platform.machine(),
            "python": platform.python_version(),
            **{name: import_module(name).__version__ for name in BACKENDS},
            "threads": usable_threads(),
        },
        "graphs": {
            item.graph.path: {
                name: {"parity": vars(parity), "latency_ms_batch_1": item.latency_ms.get(name)}
                for name, parity in item.parity.items()
            }
            for item in items
        },
        "trips": {
            "images": images,
            **{name: {backend: vars(found) for backend, found in own.items()} for name, own in trips.items()},
        },
    }
    write(folder / MEASURED, (json.dumps(measured, indent=2, sort_keys=True) + "\n").encode())
    write(folder / manifests.FILE_NAME, manifests.dump(manifest))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
