"""`durable-streams compact`: give up what nobody can read any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from durastream import errors
from durastream.commands.report import SOUND, out, out_json, size
from durastream.commands.stats import disk_bytes
from durastream.engine import LogEngine

if TYPE_CHECKING:
    import argparse

NAME = "compact"
HELP = "write a checkpoint and give up log that nobody can read any more"
DESCRIPTION = (
    "Open a data directory, write a checkpoint, and drop the segments before the oldest event that somebody "
    "can still read. Reports the bytes before and after."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no more than all have."""
    del parser


def run(given: argparse.Namespace) -> int:
    """Compact; the exit status."""
    directory = Path(given.dir)
    # Opening would make one.
    require_log(directory)
    before = disk_bytes(directory)
    with LogEngine(directory) as log:
        segments = log.stats().segments
        checkpoint = log.checkpoint()
        left = log.stats().segments
    after = disk_bytes(directory)
    if given.json:
        figures = {"before_bytes": before, "after_bytes": after, "checkpoint": checkpoint}
        out_json({**figures, "segments_before": segments, "segments_after": left})
    else:
        out(
            f"{directory}: {size(before)} before, {size(after)} after; checkpoint at LSN {checkpoint}"
        )
    return SOUND


def require_log(directory: Path) -> None:
    """Refuse a directory without a log. Raises OpenFailed."""
    if not (directory / "MANIFEST").is_file():
        raise errors.OpenFailed(
            f"there is no log in {directory}: no MANIFEST", str(directory), None
        )
