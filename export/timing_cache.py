"""What TensorRT measured when it chose kernels, kept for the next build: minutes become seconds.

One file for each environment in the user's cache, `$XDG_CACHE_HOME/hidemia/tensorrt/`.
"""

from __future__ import annotations

import os
from pathlib import Path

from hidemia.runtime.arguments import write
from hidemia.runtime.errors import EngineError

__all__ = ["TimingCache"]


class TimingCache:
    """The file of one environment.

    Args:
        environment: Its name, as the folder of its plans is called.

    Raises:
        EngineError: The folder cannot be made or written; said before the minutes of a build.
    """

    def __init__(self, environment: str) -> None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.path = root / "hidemia" / "tensorrt" / f"{environment}.timing"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            probe = self.path.with_name(f".{self.path.name}.{os.getpid()}")
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise self._failed(error) from None

    def read(self) -> bytes:
        """What was kept; nothing at the first build."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._failed(error) from None

    def write(self, data: bytes) -> None:
        """Keep it, whole or not at all.

        Raises:
            EngineError: It cannot be written.
        """
        try:
            write(self.path, data)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> EngineError:
        return EngineError(
            f"timing cache {self.path}: expected to read and write it, got {error.strerror}; "
            "mend it, or name another folder in XDG_CACHE_HOME"
        )
