"""The server's half: photos in, photos out. It has no way to recover what is hidden."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from hidemia.runtime import veil
from hidemia.runtime.arrays import Image, check_photo
from hidemia.runtime.bundle import Bundle
from hidemia.runtime.engine import Engine, EngineSettings, open_engines, usable_threads
from hidemia.runtime.errors import EngineError, ImageError
from hidemia.runtime.manifest import Graph, Manifest, Precision
from hidemia.runtime.side_by_side import SideBySide

__all__ = ["Server", "default_batching"]


class Server:
    """The analyze network of a bundle, loaded. Made by `Server.load`; safe across threads."""

    def __init__(self, manifest: Manifest, engines: list[tuple[Graph, Engine]], *, manifest_sha256: str) -> None:
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256
        self._engines = engines

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        precision: Precision | None = None,
        engine: EngineSettings | None = None,
        trusted_keys: Sequence[str | Path] | None = None,
        shared_ok: bool = False,
    ) -> Server:
        """Open a server bundle and make its engines ready.

        Args:
            path: The bundle's folder.
            precision: The manifest's first when None.
            engine: What runs the graphs, and where; ONNX Runtime on the CPU when None.
            trusted_keys: Files with Ed25519 public keys, one of which must have signed the bundle; see `Bundle.open`.
            shared_ok: Load a private bundle although other accounts on this machine can read the key of its veil.

        Raises:
            BundleError: No bundle, a damaged or unsigned one, one of another role, or one whose key others can read.
            EngineError: The engine is absent or cannot run it.
            HidemiaError: A trusted key cannot be read.
        """
        bundle = Bundle.open(path, "server", trusted_keys=trusted_keys)
        if not shared_ok:
            bundle.check_unshared()
        settings = engine or EngineSettings()
        chosen = bundle.graph("analyze", precision=precision, backend=settings.reads)
        graphs = [
            graph
            for graph in bundle.manifest.graphs
            if graph.verb == "analyze" and graph.precision == chosen.precision and graph.runs_on(settings.reads)
        ]
        if settings.device == "cpu":
            graphs = [chosen]  # photo by photo through the mixed kernel is faster there (docs/modc.md), and smaller
        pairs = list(zip(graphs, open_engines(bundle, graphs, settings), strict=True))
        try:
            pairs += _side_by_side(bundle, chosen, settings)
        except BaseException:
            for _, opened in pairs:
                opened.close()
            raise
        return cls(bundle.manifest, pairs, manifest_sha256=bundle.manifest_sha256)

    @property
    def image_size_px(self) -> int:
        """Side of every photo, in and out."""
        return self.manifest.image_size_px

    def analyze(self, stego: Image) -> Image:
        """Analyse one photo or a batch of them.

        Args:
            stego: uint8 (S, S, 3) or (N, S, S, 3), RGB, S the network's size.

        Returns:
            The replies: uint8, the same shape; under the veil of the pair where it has one.

        Raises:
            ImageError: Another shape or dtype.
            EngineError: The engine failed, or its graph is none for the bundle's veil.
        """
        size = self.image_size_px
        if not isinstance(stego, np.ndarray) or stego.ndim != 4:
            reply: Image = self.analyze(check_photo(stego, "stego", size)[None])[0]
            return reply
        if stego.dtype != np.uint8 or stego.shape[1:] != (size, size, 3) or not len(stego):
            raise ImageError(
                f"stego: expected a uint8 batch (N, {size}, {size}, 3) in RGB, "
                f"got {stego.dtype} {stego.shape}; pass each exactly as it was received"
            )
        replies, done = [], 0
        while done < len(stego):
            graph, engine = self._engine(len(stego) - done)
            count = min(len(stego) - done, graph.batch[1] or len(stego))
            photos = np.ascontiguousarray(stego[done : done + count])
            replies.append(self._veiled(engine.run({"stego": photos})["reply"], photos))
            done += count
        return replies[0] if len(replies) == 1 else np.concatenate(replies)

    def close(self) -> None:
        """Give the engines' memory back."""
        with contextlib.ExitStack() as closing:  # the others too when one of them fails
            for _, engine in self._engines:
                closing.callback(engine.close)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _veiled(self, replies: Image, photos: Image) -> Image:
        """Each reply under the veil that belongs to its photo."""
        pair = self.manifest.veil
        if pair is None:
            return replies
        return np.stack([veil.put(reply, sent, pair) for reply, sent in zip(replies, photos, strict=True)])

    def _engine(self, batch: int) -> tuple[Graph, Engine]:
        """The first that takes the whole batch, else the one that takes most of it."""
        for graph, engine in self._engines:
            if graph.serves(batch):
                return graph, engine
        smaller = [pair for pair in self._engines if pair[0].batch[0] <= batch]
        if not smaller:
            raise EngineError(f"analyze: expected a graph for batch {batch}, got none; export the bundle again")
        return max(smaller, key=lambda pair: pair[0].batch[1] or 0)


def default_batching(settings: EngineSettings) -> tuple[int, float]:
    """How a busy server is served best.

    Returns:
        Most photos of one call, and how many milliseconds the first of them waits for company. On a CPU none: what
        came while it was busy is there already. ONNX Runtime takes a photo for each of its threads there, see
        `SideBySide`; another engine gains nothing by a batch.
    """
    if settings.device != "cpu":
        return 8, 2.0
    return (settings.threads or usable_threads()) if settings.backend == "onnxruntime" else 1, 0.0


def _side_by_side(bundle: Bundle, graph: Graph, settings: EngineSettings) -> list[tuple[Graph, Engine]]:
    """What takes batches where a graph takes single photos: ONNX Runtime on several threads of a CPU."""
    threads = settings.threads or usable_threads()
    if settings.backend != "onnxruntime" or settings.device != "cpu" or graph.serves(2) or threads < 2:
        return []
    (single,) = open_engines(bundle, [graph], dataclasses.replace(settings, threads=1))
    return [(msgspec.structs.replace(graph, batch=(2, None)), SideBySide(single, threads))]
