"""`durable-streams check`: whether everything in a directory is as it was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream import _native
from durastream.commands.report import (
    DAMAGED,
    IN_USE,
    SOUND,
    fault_text,
    out,
    out_json,
    plural,
    size,
    warn,
)

if TYPE_CHECKING:
    import argparse

    from durastream._shapes import Examined

NAME = "check"
HELP = "verify every byte of a data directory, changing none"
DESCRIPTION = (
    "Verify a data directory: manifest, checkpoint, every frame of the log, that the log makes sense, and "
    "that every event of every stream reads back. Changes nothing. A directory in use is not checked."
)
EXAMPLES = """  durable-streams check ./data
  durable-streams check ./backup --json | jq .faults
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no more than all have."""
    del parser


def run(given: argparse.Namespace) -> int:
    """Check; the exit status."""
    found = _native.examine(given.dir, True)
    if found["in_use_by"] is not None:
        warn(
            f"{given.dir} is in use by {found['in_use_by']}; stop it, or check a backup or a copy instead"
        )
        return IN_USE
    if given.json:
        out_json(found)
    else:
        _tell(given.dir, found)
    return DAMAGED if found["damaged"] else SOUND


def _tell(directory: str, found: Examined) -> None:
    for fault in found["faults"]:
        out(fault_text(fault))
    sealed = plural(len(found["sealed_files"]), "sealed file")
    out(
        f"{directory}: {plural(found['streams'], 'stream')}, {plural(found['events'], 'event')} with "
        f"{size(found['payload_bytes'])}, {plural(found['frames'], 'frame')} in "
        f"{plural(len(found['segments']), 'segment')}, {sealed}, the log ends at LSN {found['end']}"
    )
    if found["damaged"]:
        out("damaged; `durable-streams repair --dry-run` says what could be kept")
    elif found["torn_bytes"]:
        out(
            "sound; the last write did not finish and was never acknowledged, the next start cuts it"
        )
    else:
        out("sound" if found["clean"] else "sound; it was not closed, the next start recovers it")
