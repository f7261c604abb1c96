"""Ed25519 signatures of bundles: `manifest.sig`, 64 raw bytes over the exact bytes of `manifest.json`.

The manifest holds the SHA-256 of every graph, so its signature covers them all. It does not cover `measured.json`,
which nothing reads to run, nor plans, which are built on the device and guarded by permissions. `openssl` makes and
checks such files as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hidemia.runtime.errors import BundleError, HidemiaError

__all__ = ["FILE_NAME", "check", "make"]

FILE_NAME = "manifest.sig"
SIZE_BYTES = 64

_MAX_KEY_BYTES = 64 << 10


def make(data: bytes, key: Path) -> bytes:
    """Sign.

    Args:
        data: The bytes of a manifest.
        key: A file with an Ed25519 private key: PEM, PKCS #8, without a passphrase.

    Returns:
        64 bytes, the same for the same data and key.

    Raises:
        HidemiaError: The file holds no such key.
        BundleError: The extra `sign` is not installed.
    """
    pem = _read(key, "a private key")
    serialization, ed25519 = _cryptography()
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise _wrong(key, "private", "one with a passphrase") from None
    except Exception:  # ValueError, UnsupportedAlgorithm
        raise _wrong(key, "private", "something else") from None
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise _wrong(key, "private", "one of another kind")
    made: bytes = private.sign(data)
    return made


def check(data: bytes, signature: bytes | None, trusted: Sequence[str | Path], name: str) -> None:
    """See that one of the trusted keys signed these bytes.

    Args:
        data: The bytes of a manifest.
        signature: The bytes of its signature; None when there is no such file.
        trusted: Files, each with an Ed25519 public key in PEM.
        name: Path of the signature in errors.

    Raises:
        HidemiaError: A file holds no such key, or there is no file.
        BundleError: No signature, a damaged one, or one by another key; or the extra `sign` is not installed.
    """
    if not trusted:
        raise HidemiaError("trusted_keys: expected at least one file, got none; leave it out to ask for no signature")
    files = [trusted] if isinstance(trusted, str) else trusted  # a text is a sequence of texts as well
    keys = [_public(Path(file)) for file in files]
    if signature is None:
        raise BundleError(f"{name}: expected a signature, got no such file; hidemia sign, or install a signed bundle")
    if len(signature) != SIZE_BYTES:
        raise BundleError(
            f"{name}: expected {SIZE_BYTES} bytes, got {len(signature)}; install the bundle again, in binary mode"
        )
    if not any(_holds(key, data, signature) for key in keys):
        raise BundleError(
            f"{name}: expected a signature of this manifest by a trusted key, got one that none of {len(keys)} made; "
            "the manifest was changed, or somebody else signed it: install the bundle again"
        )


def _holds(key: Any, data: bytes, signature: bytes) -> bool:
    invalid = import_module("cryptography.exceptions").InvalidSignature
    try:
        key.verify(signature, data)
    except invalid:
        return False
    return True


def _public(file: Path) -> Any:
    pem = _read(file, "a public key")
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_public_key(pem)
    except Exception:  # ValueError, UnsupportedAlgorithm
        raise _wrong(file, "public", "something else") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _wrong(file, "public", "one of another kind")
    return key


def _read(file: Path, what: str) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise HidemiaError(
            f"{file}: expected {what}, got {error.strerror}; name the file that holds it", exit_code=2
        ) from None


def _wrong(file: Path, kind: str, got: str) -> HidemiaError:
    way = "openssl genpkey -algorithm ed25519" if kind == "private" else "openssl pkey -in PRIVATE.pem -pubout"
    return HidemiaError(f"{file}: expected an Ed25519 {kind} key in PEM, got {got}; {way} makes one", exit_code=2)


def _cryptography() -> tuple[Any, Any]:
    try:
        return (
            import_module("cryptography.hazmat.primitives.serialization"),
            import_module("cryptography.hazmat.primitives.asymmetric.ed25519"),
        )
    except ModuleNotFoundError:
        raise BundleError(
            "signature: expected the package cryptography, got none; pip install 'hidemia[sign]'"
        ) from None
