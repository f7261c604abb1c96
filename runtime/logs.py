"""How a server's log lines look: text for people, JSON lines for collectors."""

from __future__ import annotations

import logging
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from hidemia.runtime.audit import utc

__all__ = ["FORMATS", "JsonLines", "LogFormat", "TextLines", "configure"]

LogFormat: TypeAlias = Literal["text", "json"]
FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fields that a record carries.

    A record's fields are `logger.info(..., extra={"fields": {...}})`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format one record as one line."""
        line: dict[str, Any] = {
            "time": utc(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class TextLines(logging.Formatter):
    """The same for people: time, level, logger, message, then `field=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record, its traceback below it."""
        fields = "".join(f" {name}={value}" for name, value in getattr(record, "fields", {}).items())
        message = " ".join(record.getMessage().split())
        text = f"{utc()} {record.levelname} {record.name}: {message}{fields}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(log_format: LogFormat) -> None:
    """Send the process's log to the standard error: our own from INFO on, everything else from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("hidemia").setLevel(logging.INFO)
