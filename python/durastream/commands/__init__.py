"""The commands of `durable-streams` that work on a data directory instead of serving it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from durastream import errors
from durastream.commands import check, compact, dump, repair, stats
from durastream.commands.report import DAMAGED, FAILED, IN_USE, NO_LOG, NOT_REPAIRABLE

if TYPE_CHECKING:
    import argparse

COMMANDS = {module.NAME: module for module in (check, repair, dump, stats, compact)}
EXIT_STATUS = """exit status:
  0  sound, or done          3  the directory is in use
  1  damage was found        4  it cannot be read, or has no log
  2  wrong usage             5  it cannot be repaired
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands' arguments."""
    for name, module in COMMANDS.items():
        parser = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=f"examples:\n{module.EXAMPLES}\n{EXIT_STATUS}",
        )
        parser.add_argument("dir", metavar="DIR", help="data directory")
        parser.add_argument("--json", action="store_true", help="print JSON")
        module.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Run a command; its exit status is one of `EXIT_STATUS`.

    Ctrl-C and a reader that went away end the process as the shell expects: without a word.
    """
    for name in ("SIGINT", "SIGPIPE"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        status: int = COMMANDS[given.command].run(given)
    except errors.DurableStreamError as error:
        print(f"durable-streams: {error}", file=sys.stderr)  # noqa: T201
        return _status(error)
    return status


def _status(error: errors.DurableStreamError) -> int:
    match error:
        case errors.DirectoryInUse():
            return IN_USE
        case errors.DataDamaged():
            return DAMAGED
        case errors.NotRepairable():
            return NOT_REPAIRABLE
        case errors.OpenFailed() | errors.FormatVersion():
            return NO_LOG
        case _:
            return FAILED
