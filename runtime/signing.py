"""The verb `sign`: put a signature beside a bundle's manifest."""

from __future__ import annotations

from pathlib import Path

from hidemia.runtime import folder, signature
from hidemia.runtime import manifest as manifests
from hidemia.runtime.arguments import Parser, say, write
from hidemia.runtime.bundle import Bundle

__all__ = ["sign"]


def sign(arguments: list[str]) -> int:
    """Run `hidemia sign`: what is signed was checked first, file by file."""
    parser = Parser("sign", "Sign a bundle, so that devices can refuse all others. Nothing in it is changed.")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="client or server bundle")
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="FILE",
        help="Ed25519 private key in PEM: openssl genpkey -algorithm ed25519 -out FILE",
    )
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    bundle.verify()
    folder.check_writable(bundle.path)
    out = bundle.path / signature.FILE_NAME
    write(out, signature.make((bundle.path / manifests.FILE_NAME).read_bytes(), options.key))
    say(f"wrote {out}")
    return 0
