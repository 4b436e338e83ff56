"""`durable-streams repair`: make a damaged directory open again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream import _native
from durastream.commands.report import (
    BAD_USAGE,
    DAMAGED,
    SOUND,
    fault_text,
    named,
    out,
    out_json,
    plural,
    size,
    warn,
)

if TYPE_CHECKING:
    import argparse

    from durastream._shapes import Loss, Repaired

NAME = "repair"
HELP = "make a damaged data directory open again; says what is lost"
DESCRIPTION = (
    "Make a damaged data directory open again. Rebuilds what can be worked out (manifest, segment headers); "
    "where the log itself is damaged behind the checkpoint, cuts it there, and everything behind is lost: "
    "whether it still means what it meant cannot be known. Damage below the checkpoint costs the damaged "
    "events alone: reads of them are refused, and the next start seals what is around them. Files are copied "
    "to DIR/damaged/TIME/ before they are changed."
)
EXAMPLES = """  durable-streams repair ./data --dry-run   # says what would be lost
  durable-streams repair ./data --yes
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One of the two has to be given."""
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="do it")


def run(given: argparse.Namespace) -> int:
    """Repair; the exit status: 1 for a dry run that found damage, or when some of it has to stay."""
    if given.dry_run == given.yes:
        warn(
            "repair changes the directory: give --dry-run to see what it would do, or --yes to do it"
        )
        return BAD_USAGE
    done = _native.repair(given.dir, given.dry_run)
    if given.json:
        out_json(done)
    else:
        _tell(given.dir, done)
    damaged = not done["sound"] if done["after"] is None else done["after"]["damaged"]
    return DAMAGED if damaged else SOUND


def _tell(directory: str, done: Repaired) -> None:
    for fault in done["faults"]:
        out(fault_text(fault))
    if done["sound"]:
        out(f"{directory}: sound, nothing to repair")
        return
    would = "would be" if done["dry_run"] else "was"
    if done["checkpoint_dropped"]:
        out(f"the checkpoint {would} given up; the next start replays all of the log")
    if done["cut"] is not None:
        out(f"the log {would} cut at LSN {done['cut']}")
    out("lost:" if done["losses"] else "nothing is lost but what is listed above")
    for loss in done["losses"]:
        out("  " + loss_text(loss))
    if done["cut"] is not None:
        places = plural(done["unknown"], "place")
        out(f"  whatever was in {places} that cannot be read any more")
    if done["dry_run"]:
        out("nothing was changed; --yes does what can be done")
        return
    _tell_what_was_done(directory, done)


def _tell_what_was_done(directory: str, done: Repaired) -> None:
    if not done["changed"] and not done["removed"]:
        out("nothing was changed: there is nothing that a repair could mend")
    if done["aside"] is not None:
        out(f"copies of what was changed or removed are in {done['aside']}")
    if done["after"] is not None and done["after"]["damaged"]:
        out(f"{directory} opens; this damage has to stay, and reads of it are refused:")
        for fault in done["after"]["faults"]:
            if not fault["harmless"]:
                out("  " + fault_text(fault))
    else:
        out(f"{directory} is sound now")


def loss_text(loss: Loss) -> str:
    """One stream's loss as one line."""
    parts = [plural(loss["events"], "event")] if loss["events"] else []
    if loss["positions"] is not None:
        first, end = loss["positions"]
        parts.append(f"{size(loss['bytes'])} at positions {first} to {end}")
    text = f"{named(loss['stream'], loss['path'])}: {', '.join(parts)}"
    if loss["creation_lost"]:
        text += "; its creation: there is no such stream any more"
    if loss["deletion_lost"]:
        text += "; its deletion: it is there again"
    return text
