"""NVIDIA's Python binding of TensorRT: which versions serve, and what it says while it works."""

from __future__ import annotations

from typing import Any

from hidemia.runtime.errors import EngineError

__all__ = ["SUPPORTED", "create", "error_log", "load", "major_version"]

SUPPORTED = "8.6, 10 or 11"
"""Versions whose binding this package is written for; between them NVIDIA renamed and removed."""


def load() -> Any:
    """The module `tensorrt`.

    Raises:
        EngineError: It is not installed, cannot be loaded, or is of a version that nothing here was written for.
    """
    try:
        import tensorrt  # noqa: PLC0415  hundreds of megabytes, for those who ask for it
    except ModuleNotFoundError as error:
        raise EngineError(
            f"engine: expected tensorrt, got no package {error.name}; pip install 'hidemia[tensorrt]'"
        ) from None
    except (ImportError, OSError, RuntimeError) as error:  # its libraries are missing or of another release
        raise EngineError(f"engine: expected tensorrt to load, got {error}; install it again") from error
    major, minor = _numbers(tensorrt.__version__)
    if (major, minor) < (8, 6) or major == 9 or major > 11:
        raise EngineError(
            f"engine: expected TensorRT {SUPPORTED}, got {tensorrt.__version__}; install one of these or update hidemia"
        )
    return tensorrt


def major_version(trt: Any) -> int:
    """8, 10 or 11: all that the code branches on."""
    return _numbers(trt.__version__)[0]


def create(kind: Any, log: Any) -> Any:
    """A Builder or a Runtime, which TensorRT makes only where there is a GPU.

    See first that there is one: without, the Builder of 8.6 is an error here, but its Runtime ends the process.

    Raises:
        EngineError: There is none, or its driver is too old.
    """
    try:
        return kind(log)
    except Exception as error:  # the binding raises TypeError for a null pointer, and others
        raise EngineError(
            f"engine: expected a GPU that TensorRT can use, got none: {log.last or error}; see hidemia doctor"
        ) from error


def error_log(trt: Any) -> Any:
    """A logger that prints nothing and keeps the last error in `last`; it is never silent about why."""

    class ErrorLog(trt.ILogger):  # type: ignore[misc]
        """TensorRT calls `log`."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # the binding requires this very call
            self.last = ""

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = " ".join(msg.split())

    return ErrorLog()


def _numbers(version: str) -> tuple[int, int]:
    major, minor = (*version.split("."), "0")[:2]
    return int(major), int(minor)
