"""A folder with a manifest and graphs, of which no byte reaches an engine unchecked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hidemia.runtime import manifest as manifests
from hidemia.runtime.errors import BundleError
from hidemia.runtime.manifest import Graph, Manifest, Precision, Role, Verb

__all__ = ["Bundle"]

_MAX_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True)
class Bundle:
    """A client's or a server's half of a model.

    Attributes:
        path: Its folder.
        manifest: What it says about itself.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path, role: Role) -> Bundle:
        """Read the manifest and see that every file it names is there and has its size.

        Args:
            path: The bundle's folder.
            role: What it is needed for.

        Raises:
            BundleError: No bundle, a damaged one, one of a newer schema, or one of the other role.
        """
        path = Path(path)
        file = path / manifests.FILE_NAME
        try:
            data = _read(file, _MAX_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{path}: expected a {role} bundle, got no {manifests.FILE_NAME}; name the folder that holds it",
                exit_code=2,
            ) from None
        manifest = manifests.load(data, str(file))
        if manifest.role != role:
            raise BundleError(
                f"{path}: expected a {role} bundle, got a {manifest.role} bundle; name the {role} folder",
                exit_code=2,
            )
        bundle = cls(path, manifest)
        for graph in manifest.graphs:
            bundle._check_size(graph)
        return bundle

    def graph(
        self, verb: Verb, *, batch: int = 1, precision: Precision | None = None, backend: str = "onnxruntime"
    ) -> Graph:
        """The first graph of the manifest for a verb, a batch and an engine.

        Args:
            verb: hide, analyze or recover.
            batch: Images of one run.
            precision: As asked for when the bundle was made; the manifest's first when None.
            backend: The engine that will run it.

        Raises:
            BundleError: None serves. Another precision or engine is never taken instead.
        """
        for graph in self.manifest.graphs:
            if (
                graph.verb == verb
                and graph.serves(batch)
                and graph.runs_on(backend)
                and precision in (None, graph.precision)
            ):
                return graph
        offered = ", ".join(
            f"{g.precision} on {'/'.join(g.backends)} for batch {g.batch[0]}..{g.batch[1] or ''}"
            for g in self.manifest.graphs
            if g.verb == verb
        )
        raise BundleError(
            f"{self.path}: expected a graph for {verb}, {precision or 'any precision'} on {backend} "
            f"for batch {batch}, got {offered or 'none'}; ask for one of these or export the bundle again",
            exit_code=2,
        )

    def read(self, graph: Graph) -> bytes:
        """Read a graph's file once, and return these very bytes if their hash is the manifest's.

        Raises:
            BundleError: The file is missing, has another size or another SHA-256.
        """
        file = self.path / graph.path
        self._check_size(graph)
        data = _read(file, graph.size_bytes)
        got = hashlib.sha256(data).hexdigest()
        if got != graph.sha256:
            raise BundleError(
                f"{file}: expected SHA-256 {graph.sha256[:16]}..., got {got[:16]}...; "
                "the file was changed or damaged: install the bundle again"
            )
        return data

    def verify(self) -> None:
        """Check the hash of every file, not only of those in use.

        Raises:
            BundleError: As `read`.
        """
        for graph in self.manifest.graphs:
            self.read(graph)

    def _check_size(self, graph: Graph) -> None:
        file = self.path / graph.path
        try:
            got = file.stat().st_size
        except OSError as error:
            raise BundleError(
                f"{file}: expected a file of the bundle, got {error.strerror}; install the bundle again"
            ) from None
        if got != graph.size_bytes:
            raise BundleError(
                f"{file}: expected {graph.size_bytes} bytes, got {got}; "
                "the file was changed or cut short: install the bundle again"
            )


def _read(file: Path, max_bytes: int) -> bytes:
    """Read at most `max_bytes` + 1, so that a file swapped for a huge one costs no memory."""
    try:
        with file.open("rb") as stream:
            return stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise BundleError(f"{file}: expected a readable file, got {error.strerror}; check its permissions") from None
