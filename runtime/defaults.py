"""Where the bundles that come with the package are."""

from __future__ import annotations

from pathlib import Path

from hidemia.runtime.manifest import Role

__all__ = ["bundle"]

MODEL = "busi-s"


def bundle(role: Role) -> Path:
    """The folder of the default model's client or server bundle."""
    return Path(__file__).parent / "bundles" / MODEL / role
