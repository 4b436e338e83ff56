"""Log lines of the server, as text or JSON."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from durastream._native import log_to_stderr


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _TextFormatter(logging.Formatter):
    """One line, in UTC, with the fields of a record behind its message."""

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        """UTC, as the native half has it."""
        return time.gmtime(seconds)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        for name, value in getattr(record, "fields", {}).items():
            line += f" {name}={_plain(value)}"
        return line


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    plain = value.isascii() and value.isprintable() and not set(value) & set(' "\\=')
    return value if plain and value else json.dumps(value, ensure_ascii=False)


def configure(level: str, style: str, collector: str | None, trace_ratio: float) -> None:
    """Send log records of this process, its native half included, to standard error, spans to a collector."""
    handler = logging.StreamHandler()
    if style == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log_to_stderr(level, style == "json", collector=collector, trace_ratio=trace_ratio)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # They log every header field, and the bytes it makes.
    for library in ("h2", "hpack"):
        logging.getLogger(library).setLevel(logging.WARNING)
