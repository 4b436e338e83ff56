"""`durable-streams close`: end a stream for good."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from durastream.commands.remote.create import PATIENCE
from durastream.commands.remote.ends import DONE
from durastream.commands.remote.place import Server
from durastream.commands.report import out

if TYPE_CHECKING:
    import argparse

NAME = "close"
HELP = "close a stream: readers learn that nothing more comes"
DESCRIPTION = (
    "Close a stream for good, with a last message or without, in one step. Closing it again without a "
    "message changes nothing."
)
EXAMPLES = """  durable-streams close orders
  durable-streams close orders '{"type": "end"}'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which stream, and its last message."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    parser.add_argument("message", metavar="MESSAGE", nargs="?", help="the last message")
    parser.add_argument("--print-offset", action="store_true", help="print the stream's end")


def run(given: argparse.Namespace) -> int:
    """Close; the exit status."""
    server = Server.of(given)
    url = server.stream_url(given.stream)
    from durastream.client import DurableStream  # noqa: PLC0415  (slow to load)

    stream = DurableStream(url, **server.options(url, patience=PATIENCE))
    done = stream.close(None if given.message is None else os.fsencode(given.message))
    if given.print_offset:
        out(done.offset)
    return DONE
