"""The command `durable-streams`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from durastream import __version__
from durastream import commands as commands_of_tools
from durastream.commands import completion, standard
from durastream.commands.arguments import CommandParser
from durastream.commands.remote import entry as remote
from durastream.settings import SETTINGS, SettingError, Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_USAGE = 2
SERVE_EXAMPLES = """  durable-streams serve                      # ./data on http://127.0.0.1:4437
  durable-streams serve --data /var/lib/streams --port 8080 --log-format json
  durable-streams serve --host 0.0.0.0 --tls-cert chain.pem --tls-key key.pem
  DURASTREAM_DURABILITY=interval=10 durable-streams serve --listing on
"""
SERVE_VALUES = """SIZE is in bytes, or a number with KiB, MiB or GiB. TIME is in seconds, or a
number with ms, s, m or h. Each flag can be given by the variable in brackets;
the flag goes first.
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments. Values stay text: `Settings` checks them, wherever they come from."""
    top = argparse.ArgumentParser(
        prog="durable-streams",
        description="A server of the Durable Streams protocol on an embedded log, commands for the streams "
        "of any server of that protocol, and tools for data directories.",
    )
    top.add_argument("--version", action="version", version=f"durable-streams {__version__}")
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = top.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=CommandParser
    )
    serve = commands.add_parser(
        "serve",
        help="serve a data directory over HTTP",
        description="Serve a data directory over HTTP/1.1 and HTTP/2.",
        epilog=f"examples:\n{SERVE_EXAMPLES}\n{SERVE_VALUES}",
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for setting in SETTINGS:
        if setting.group not in groups:
            groups[setting.group] = serve.add_argument_group(setting.group)
        default = "" if setting.default is None else f"; default {setting.default}"
        groups[setting.group].add_argument(
            setting.flag,
            dest=setting.name,
            metavar=setting.metavar,
            action="append" if setting.repeatable else "store",
            help=f"{setting.help}{default} [{setting.variable}]",
        )
    remote.add_to(commands)
    commands_of_tools.add_to(commands)
    completion.add_to(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status.

    Of `serve`: 0, 1 for a failure, 2 for a value that cannot be used. The others document theirs.
    """
    standard.fill_in()
    top = parser()
    given = top.parse_args(arguments)
    if given.command in remote.COMMANDS:
        return remote.run(given)
    if given.command in commands_of_tools.COMMANDS:
        return commands_of_tools.run(given)
    if given.command == completion.NAME:
        return completion.run(given, top)
    try:
        settings = Settings(vars(given), os.environ)
    except SettingError as error:
        print(f"durable-streams: {error}", file=sys.stderr)  # noqa: T201
        return BAD_USAGE
    # Imported late: `--help` and a wrong flag answer at once.
    from durastream.serve import serve  # noqa: PLC0415

    return serve(settings)
