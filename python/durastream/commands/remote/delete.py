"""`durable-streams delete`: delete streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.commands.remote.create import PATIENCE
from durastream.commands.remote.ends import DONE
from durastream.commands.remote.place import Server

if TYPE_CHECKING:
    import argparse

NAME = "delete"
HELP = "delete streams"
DESCRIPTION = (
    "Delete streams, one after the other; stops at the first that cannot be deleted. Forks of a deleted "
    "stream keep what they share with it."
)
EXAMPLES = """  durable-streams delete orders
  durable-streams delete --missing-ok scratch/1 scratch/2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which streams."""
    parser.add_argument("streams", metavar="STREAM", nargs="+", help="a stream's path, or its URL")
    parser.add_argument(
        "--missing-ok", action="store_true", help="a stream that is not there is no failure"
    )


def run(given: argparse.Namespace) -> int:
    """Delete; the exit status."""
    server = Server.of(given)
    urls = [server.stream_url(stream) for stream in given.streams]
    from durastream.client import DurableStream, StreamGone, StreamNotFound  # noqa: PLC0415

    for url in urls:
        stream = DurableStream(url, **server.options(url, patience=PATIENCE))
        try:
            stream.delete()
        except (StreamNotFound, StreamGone):
            if not given.missing_ok:
                raise
    return DONE
