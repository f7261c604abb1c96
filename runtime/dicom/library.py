"""pydicom and highdicom: imported when they are needed, kept quiet, their failures turned into one line."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

from hidemia.runtime.errors import HidemiaError, ImageError

__all__ = ["guarded"]

_LOGGERS = ("pydicom", "highdicom")

# Filters of warnings are the process's own: two threads that set and restore them would leave them mixed up.
_lock = threading.RLock()


@contextlib.contextmanager
def guarded(name: str, what: str) -> Iterator[None]:
    """Run code of pydicom or highdicom over bytes that nobody vouches for.

    Neither says which exceptions damaged data may raise: over the whole of PS3.5 there are many kinds. So whatever
    is not an error of ours is one line here. Their warnings and log lines are dropped, since they quote header
    fields, names among them; what matters for the pixels this package checks itself.

    Args:
        name: The file's name in errors.
        what: What was expected of it.

    Raises:
        ImageError: The package is absent, or the code failed.
    """
    with _lock, warnings.catch_warnings(), _silent():
        warnings.simplefilter("ignore")
        try:
            yield
        except HidemiaError:
            raise
        except ModuleNotFoundError as error:
            raise ImageError(
                f"{name}: expected the package {error.name} to handle DICOM, got none; pip install 'hidemia[dicom]'",
                exit_code=1,
            ) from None
        except Exception as error:
            raise ImageError(
                f"{name}: expected {what}, got one that is damaged or breaks the standard ({type(error).__name__}); "
                "export it again"
            ) from error


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
