"""`durable-streams compact`: give up what nobody can read any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from durastream import _native, errors
from durastream._limits import LEAST_SEGMENT
from durastream.commands.report import SOUND, out, out_json, size
from durastream.commands.stats import disk_bytes
from durastream.engine import LogEngine

if TYPE_CHECKING:
    import argparse

NAME = "compact"
SEGMENT_BYTES = 1 << 20
"""What is written meanwhile is little, and a start with larger segments prepares one itself."""
HELP = "give up what nobody can read any more"
DESCRIPTION = (
    "Open a data directory, write its whole log into sealed files, merge these without what was deleted, has "
    "expired or was trimmed, and drop the log. Reports the bytes before and after."
)
EXAMPLES = """  durable-streams compact ./data
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no more than all have."""
    del parser


def run(given: argparse.Namespace) -> int:
    """Compact; the exit status."""
    directory = Path(given.dir)
    # Looked at first: opening would make a log where there is none.
    found = _native.examine(directory, False)
    if found["in_use_by"] is not None:
        text = f"{directory} is in use by {found['in_use_by']}; the server compacts by itself"
        raise errors.DirectoryInUse(text, str(directory), found["in_use_by"])
    # No larger than those that are there: what is prepared stays beside the data.
    largest = max((segment["bytes"] for segment in found["segments"]), default=SEGMENT_BYTES)
    before = disk_bytes(directory)
    with LogEngine(directory, segment_bytes=max(LEAST_SEGMENT, min(largest, SEGMENT_BYTES))) as log:
        log.compact()
        checkpoint = log.stats().checkpoint_lsn
    removed = _native.sweep(directory)
    after, own = disk_bytes(directory), disk_bytes(directory, ("*.wal", "BALLAST"))
    if given.json:
        figures = {"before_bytes": before, "after_bytes": after, "log_bytes": own}
        figures["checkpoint"] = checkpoint
        out_json({**figures, "removed": removed})
    else:
        out(
            f"{directory}: {size(before)} before, {size(after)} after, {size(own)} of it the log's own "
            f"(segments, space kept back); checkpoint at LSN {checkpoint}"
        )
    return SOUND
