"""A folder with a manifest and graphs, of which no byte reaches an engine unchecked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hidemia.runtime import folder, permissions, signature
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
        manifest_sha256: Of the file's bytes, by which a result names its model.
    """

    path: Path
    manifest: Manifest
    manifest_sha256: str = ""

    @classmethod
    def open(
        cls, path: str | Path, role: Role | None = None, *, trusted_keys: Sequence[str | Path] | None = None
    ) -> Bundle:
        """Read the manifest and see that every file it names is there and has its size.

        Args:
            path: The bundle's folder.
            role: What it is needed for; either when None.
            trusted_keys: Files with Ed25519 public keys in PEM, one of which must have signed the manifest, before
                anything in it is believed. When None no signature is asked for, and one that is there is not read.

        Raises:
            BundleError: No bundle, a damaged or unsigned one, one of a newer schema, or one of the other role.
            HidemiaError: A trusted key cannot be read.
        """
        bundle = cls.described(path, role, trusted_keys=trusted_keys)
        for graph in bundle.manifest.graphs:
            bundle._check_size(graph)
        return bundle

    @classmethod
    def described(
        cls, path: str | Path, role: Role | None = None, *, trusted_keys: Sequence[str | Path] | None = None
    ) -> Bundle:
        """Read the manifest and nothing else; arguments and errors are those of `open`."""
        path = Path(path)
        file = path / manifests.FILE_NAME
        try:
            data = folder.read(path, file, _MAX_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(
                f"{path}: expected a {role or 'client or server'} bundle, got no {manifests.FILE_NAME}; "
                "name the folder that holds it",
                exit_code=2,
            ) from None
        if trusted_keys is not None:
            _check_signature(path, data, trusted_keys)
        manifest = manifests.load(data, str(file))
        if role is not None and manifest.role != role:
            raise BundleError(
                f"{path}: expected a {role} bundle, got a {manifest.role} bundle; name the {role} folder",
                exit_code=2,
            )
        return cls(path, manifest, hashlib.sha256(data).hexdigest())

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
            f"for batch {batch}, got {offered or 'none'}; ask for one of these or export the bundle again"
            f"{' with --tensorrt' if (precision, backend) == ('int8', 'tensorrt') else ''}",
            exit_code=2,
        )

    def read(self, graph: Graph) -> bytes:
        """Read a graph's file once, and return these very bytes if their hash is the manifest's.

        Raises:
            BundleError: The file is missing, has another size or another SHA-256.
        """
        file = self.path / graph.path
        self._check_size(graph)
        data = folder.read(self.path, file, graph.size_bytes)
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

    def check_unshared(self) -> None:
        """Refuse a private bundle whose secrets other accounts can read: a client's networks, and the key of a veil.

        Raises:
            BundleError: Its group or others can read a graph of a client, or the manifest with the key.
        """
        manifest = self.manifest
        if manifest.public_key:
            return
        if manifest.role == "client":
            graphs = [self.path / graph.path for graph in manifest.graphs]
            permissions.check_unshared(self.path, graphs, opens="can recover")
        if manifest.veil is not None:
            permissions.check_unshared(self.path, [self.path / manifests.FILE_NAME], opens="has the key of the veil")

    def _check_size(self, graph: Graph) -> None:
        file = self.path / graph.path
        try:
            got = folder.size(self.path, file)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BundleError(
                f"{file}: expected a file of the bundle, got {error.strerror}; install the bundle again"
            ) from None
        if got != graph.size_bytes:
            raise BundleError(
                f"{file}: expected {graph.size_bytes} bytes, got {got}; "
                "the file was changed or cut short: install the bundle again"
            )


def _check_signature(path: Path, data: bytes, trusted_keys: Sequence[str | Path]) -> None:
    file = path / signature.FILE_NAME
    try:
        found: bytes | None = folder.read(path, file, signature.SIZE_BYTES)
    except FileNotFoundError:
        found = None
    signature.check(data, found, trusted_keys, str(file))
