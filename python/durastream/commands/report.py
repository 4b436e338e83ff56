"""What the commands print, and their exit statuses."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from durastream._shapes import Fault

SOUND: Final = 0
DAMAGED: Final = 1
BAD_USAGE: Final = 2
IN_USE: Final = 3
NO_LOG: Final = 4
NO_STREAM: Final = 4
NOT_REPAIRABLE: Final = 5
FAILED: Final = 4
"""The operating system refused something."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def out(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Print a line for whoever watches, not for what reads the output."""
    sys.stderr.write(f"durable-streams: {text}\n")


def out_json(value: Any) -> None:  # noqa: ANN401  (whatever JSON can be made of)
    """Print one value as one line of JSON; bytes become text where they are UTF-8, else hex."""
    out(json.dumps(value, default=_bytes, ensure_ascii=False))


def _bytes(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"hex": value.hex()}


def size(count: float) -> str:
    """A number of bytes as people read it."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def named(stream: int | None, path: str | None) -> str:
    """A stream as people know it."""
    if path is not None:
        return f"stream {path!r}"
    return "an unknown stream" if stream is None else f"stream number {stream}"


def fault_text(fault: Fault) -> str:
    """A fault as one line."""
    where = f"{fault['file']} at byte {fault['offset']}"
    if fault["lsn"] is not None:
        where += f" (LSN {fault['lsn']})"
    about = ""
    if fault["stream"] is not None:
        about = f" [{named(fault['stream'], fault['path'])}"
        about += f" at position {fault['position']}]" if fault["position"] is not None else "]"
    hurt = "" if fault["harmless"] or fault["acknowledged"] else " (nothing acknowledged is hurt)"
    return f"{fault['kind']}: {where}: {fault['detail']}{about}{hurt}"
