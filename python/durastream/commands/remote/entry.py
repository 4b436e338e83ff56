"""All of these commands: their arguments, and how any of them runs and ends."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from durastream import errors
from durastream.commands import standard
from durastream.commands.remote import (
    bench,
    close,
    create,
    delete,
    ends,
    fork,
    head,
    listing,
    loading,
    place,
    read,
    write,
)
from durastream.commands.report import warn

if TYPE_CHECKING:
    import argparse

MODULES = (create, write, read, head, listing, close, fork, delete, bench)
COMMANDS = {module.NAME: module for module in MODULES}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands' arguments."""
    for name, module in COMMANDS.items():
        parser = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=f"examples:\n{module.EXAMPLES}\n{ends.EXIT_STATUS}",
        )
        module.add_arguments(parser)
        place.add_arguments(parser)


def run(given: argparse.Namespace) -> int:
    """Run a command; its exit status is one of `ends.EXIT_STATUS`.

    Ctrl-C and a reader that went away end the process as the shell expects: without a traceback.
    """
    # SIGPIPE stays ignored: a server that hangs up would kill the process, too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        loading.load_httpx()
        status: int = COMMANDS[given.command].run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        ends.die_by(signal.SIGPIPE)
    except ends.Interrupted as interrupted:
        ends.die_by(interrupted.number)
    except ends.BadUsageError as error:
        warn(f"{given.command}: {error}")
        return ends.BAD_USAGE
    except errors.DurableStreamError as error:
        warn(f"{error}{ends.advice(error, getattr(error, 'url', ''))}")
        return ends.status_of(error)
    except OSError as error:
        standard.forget_output()
        warn(ends.said(error))
        return ends.FAILED
    return status
