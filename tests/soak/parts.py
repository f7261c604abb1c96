"""The parts of a soak, by name. Each takes the share of its counts and durations to run, and returns its figures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tests.process import Process
from tests.runtime.conftest import SIZE, make_model
from tests.soak.fuzz import fuzz
from tests.soak.load import load
from tests.soak.pngs import Mutant, seed, unfilter

from hidemia.runtime import ImageError, Server, defaults, png
from hidemia.runtime.engine import EngineSettings

CORES = 2
CLIENTS = 8
LOAD_S = 300
OVERLOAD_S = 60
OVERLOAD_QUEUE = 4
KILLING_S, MIN_KILLING_S = 120, 25  # a replica dies every 8 s, and needs about as long to be replaced

Figures = dict[str, Any]


def fuzz_small(share: float) -> Figures:
    """A model whose reply can be worked out from the pixels, which come from a decoder of our own."""

    def is_right(one: Mutant, reply: bytes) -> bool:
        got = png.decode(reply)
        if one.stream is None:
            return got.shape == (SIZE, SIZE, 3)
        sent = unfilter(one.stream, SIZE)
        return np.array_equal(got, sent // 4 * 4 + 3 * (sent % 2))

    with tempfile.TemporaryDirectory() as folder:
        server = make_model(Path(folder)).server
        return _fuzz(server, is_right, share, pngs=64_000, requests=20_000, manifests=20_000, accepted_share=0.18)


def fuzz_packaged(share: float) -> Figures:
    """The model that people get; three of ten mutants reach its engine."""

    def is_right(_: Mutant, reply: bytes) -> bool:
        try:
            return png.decode(reply).shape == (224, 224, 3)
        except ImageError:
            return False

    bundle = defaults.bundle("server")
    return _fuzz(bundle, is_right, share, pngs=36_000, requests=5_000, manifests=20_000, accepted_share=0.3)


def _fuzz(
    bundle: Path, is_right: Callable[[Mutant, bytes], bool], share: float, *, accepted_share: float, **counts: int
) -> Figures:
    manifest = (bundle / "manifest.json").read_bytes()
    server = Process("--server", str(bundle), "--deadline", "60")
    try:
        figures = fuzz(
            server,
            size=json.loads(manifest)["image_size_px"],
            manifest=manifest,
            accepted_share=accepted_share,
            check=is_right,
            **{name: max(1, round(share * count)) for name, count in counts.items()},
        )
    finally:
        code, _ = server.stop()
    if code:
        figures["failures"].append(f"the server ended with {code}")
    return figures


def load_steady(share: float) -> Figures:
    """A queue that holds all clients: nobody is refused."""
    return _load("--queue-size", "64", clients=CLIENTS, seconds=share * LOAD_S)


def load_beyond(share: float) -> Figures:
    """Four times the clients, and a queue for a few: most are refused, and no accepted photo is lost."""
    return _load("--queue-size", str(OVERLOAD_QUEUE), clients=4 * CLIENTS, seconds=share * OVERLOAD_S)


def _load(*arguments: str, clients: int, seconds: float) -> Figures:
    photos = []
    with Server.load(defaults.bundle("server"), engine=EngineSettings(threads=CORES)) as analyzer:
        for number in range(8):
            sent = seed(number, analyzer.image_size_px).data
            photos.append((sent, png.encode(analyzer.analyze(png.decode(sent)))))
    server = Process(*arguments, "--threads", str(CORES))
    try:
        return load(server, photos, clients=clients, seconds=max(seconds, 5.0))
    finally:
        server.stop()


def ray(share: float) -> Figures:
    """A cluster of two replicas, one of which is killed again and again."""
    from tests.soak.ray_cluster import soak  # it starts Ray's own machinery, which the other parts do without

    return soak(clients=CLIENTS, killing_s=max(share * KILLING_S, MIN_KILLING_S))


PARTS: dict[str, Callable[[float], Figures]] = {
    "fuzz_small": fuzz_small,
    "fuzz_packaged": fuzz_packaged,
    "load": load_steady,
    "overload": load_beyond,
    "ray": ray,
}
