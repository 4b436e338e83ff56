"""`durable-streams stats`: what is in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from durastream import _native
from durastream.commands.report import DAMAGED, SOUND, fault_text, out, out_json, plural, size, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

NAME = "stats"
HELP = "say what is in a data directory, and how long a start would take"
DESCRIPTION = (
    "Say what is in a data directory: streams, bytes, segments, checkpoint. Reads what a start would read, "
    "and says how long that took. Changes nothing; of a directory in use the figures may be of "
    "different moments."
)
EXAMPLES = """  durable-streams stats ./data
  durable-streams stats ./data --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no more than all have."""
    del parser


def run(given: argparse.Namespace) -> int:
    """Tell; the exit status."""
    found = _native.examine(given.dir, False)
    held = found["in_use_by"] is not None
    on_disk = disk_bytes(Path(given.dir))
    payload = found["payload_bytes"]
    amplification = on_disk / payload if payload else None
    # What is read while it is written need not fit together.
    damaged = found["damaged"] and not held
    if given.json:
        more = {"disk_bytes": on_disk, "disk_amplification": amplification}
        out_json({**found, "damaged": damaged, **more})
        return DAMAGED if damaged else SOUND
    if held:
        warn(f"{given.dir} is in use by {found['in_use_by']}; the figures are of a moment")
    checkpoint = "none"
    if found["checkpoint"] is not None:
        checkpoint = f"at LSN {found['checkpoint']}, {size(found['checkpoint_bytes'])}"
    ratio = ""
    if amplification:
        digits = 0 if amplification > 99 else 1
        ratio = f", {amplification:,.{digits}f} times the payload"
    rows = {
        "streams": f"{found['streams']:,}",
        "events": f"{found['events']:,}",
        "payload": size(payload),
        "on disk": size(on_disk) + ratio,
        "segments": f"{plural(len(found['segments']), 'segment')} in use, {found['reserves']} prepared",
        "sealed": f"{plural(len(found['sealed_files']), 'file')}, "
        f"{size(sum(file['bytes'] for file in found['sealed_files']))}, up to LSN {found['sealed']}",
        "checkpoint": checkpoint,
        "log": f"LSN {found['oldest']} to {found['end']}",
        "closed": "cleanly" if found["clean"] else "no: the next start recovers it",
        "recovery": f"{found['recovery_seconds']:.3f} s for {plural(found['frames'], 'frame')}",
    }
    for name, value in rows.items():
        out(f"{name + ':':<12} {value}")
    for fault in found["faults"]:
        if not held:
            out(fault_text(fault))
    return DAMAGED if damaged else SOUND


def disk_bytes(directory: Path, patterns: Iterable[str] = ("*",)) -> int:
    """Bytes that the files of a directory take, those of some names or all, holes not counted."""
    found = (file for pattern in patterns for file in directory.rglob(pattern))
    files = [file.stat() for file in found if file.is_file()]
    return sum(file.st_blocks * 512 for file in files)
