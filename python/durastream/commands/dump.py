"""`durable-streams dump`: the frames of the log, readable."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from durastream import _native
from durastream.commands.report import (
    DAMAGED,
    NO_STREAM,
    SOUND,
    fault_text,
    out,
    out_json,
    plural,
    warn,
)

if TYPE_CHECKING:
    from durastream._shapes import Extent, Fault, Frame

NAME = "dump"
HELP = "print what sealed files have, and the frames of the log"
DESCRIPTION = (
    "Print the extents of the sealed files and the frames of the log, one a line, and what is wrong among "
    "them. Changes nothing. May be used on a directory in use; its end may then be seen half-written."
)
EXAMPLES = """  durable-streams dump ./data | less
  durable-streams dump ./data --stream orders --payload
  durable-streams dump ./data --from 4096 --json
"""
PREVIEW = 60
"""Payload bytes shown unless all are asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show, and how much of it."""
    parser.add_argument(
        "--from",
        dest="start",
        type=_lsn,
        default=0,
        metavar="LSN",
        help="begin at this log address",
    )
    parser.add_argument(
        "--stream", metavar="ID|PATH", help="only this stream, by its number or its path"
    )
    parser.add_argument(
        "--payload",
        action="store_true",
        help=f"print payloads in full, not {PREVIEW} bytes of them",
    )


def _lsn(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a log address; give a whole number below 2^64"
        )
    return int(text)


def run(given: argparse.Namespace) -> int:
    """Dump; the exit status."""
    damaged = found = False

    def see(item: Extent | Frame | Fault) -> None:
        nonlocal damaged, found
        if "harmless" in item:
            fault = cast("Fault", item)
            damaged = damaged or not fault["harmless"]
            if given.json:
                out_json({"fault": fault})
            else:
                out(f"!! {fault_text(fault)}")
            return
        if given.stream is not None and given.stream not in (str(item["stream"]), item["path"]):
            return
        found = True
        if "events" in item:
            extent = cast("Extent", item)
            if given.json:
                out_json({"extent": extent})
            else:
                out(extent_text(extent))
            return
        frame = item
        if given.json:
            out_json(_json(frame, whole=given.payload))
        else:
            out(frame_text(frame, whole=given.payload))

    _native.dump(given.dir, given.start, see)
    if given.stream is not None and not found:
        behind = f" from LSN {given.start} on" if given.start else ""
        warn(f"nothing of a stream {given.stream!r} is in {given.dir}{behind}")
        return DAMAGED if damaged else NO_STREAM
    return DAMAGED if damaged else SOUND


def _json(frame: Frame, *, whole: bool) -> dict[str, Any]:
    payload = frame["payload"]
    shown = payload if whole else payload[:PREVIEW]
    return {**frame, "payload": shown, "payload_bytes": len(payload)}


def extent_text(extent: Extent) -> str:
    """One extent as one line."""
    first, behind = extent["lsns"]
    parts = [f"{first:>12} sealed  {extent['stream']}"]
    if extent["path"] is not None:
        parts.append(extent["path"])
    parts.append(f"@{extent['start']} to {extent['end']}, below LSN {behind},")
    parts.append(
        "events unknown" if extent["events"] is None else plural(extent["events"], "event")
    )
    parts.append("unreadable" if extent["head"] is None else f"{extent['head'][:PREVIEW]!r}"[1:])
    return " ".join(parts)


def frame_text(frame: Frame, *, whole: bool) -> str:
    """One frame as one line."""
    payload = frame["payload"]
    parts = [f"{frame['lsn']:>12} {frame['kind']:<7} {frame['stream']}"]
    if frame["path"] is not None:
        parts.append(frame["path"])
    parts.append(f"@{frame['position']}")
    if frame["content_type"] is not None:
        parts.append(f"type={frame['content_type']}")
    if frame["producer"] is not None:
        producer = frame["producer"]
        parts.append(f"producer={producer['id']}/{producer['epoch']}/{producer['seq']}")
    if frame["stream_seq"] is not None:
        parts.append(f"seq={frame['stream_seq']!r}")
    if frame["fork"] is not None:
        parts.append(f"fork-of={frame['fork']['source_path']}@{frame['fork']['position']}")
    if frame["ttl"] is not None:
        parts.append(f"ttl={frame['ttl']:g}s")
    if frame["expires_at"] is not None:
        parts.append(f"expires={_time(frame['expires_at'])}")
    if frame["at"] is not None:
        parts.append(f"at={_time(frame['at'])}")
    if frame["closes"]:
        parts.append("closes")
    if payload:
        cut = len(payload) > PREVIEW and not whole
        shown = repr(payload[:PREVIEW] if cut else payload)[1:]
        parts.append(f"{len(payload)} bytes {shown}{'...' if cut else ''}")
    return " ".join(parts)


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError):
        return f"{seconds:.0f}"
