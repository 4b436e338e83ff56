"""`durable-streams fork`: branch a stream off another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.commands.remote.create import PATIENCE, add_lifetime, whole
from durastream.commands.remote.ends import DONE, BadUsageError
from durastream.commands.remote.place import Server
from durastream.commands.report import out

if TYPE_CHECKING:
    import argparse

NAME = "fork"
HELP = "create a stream that shares another one's past"
DESCRIPTION = (
    "Create the stream TO as a fork of STREAM: it begins with what STREAM holds up to an offset, and goes "
    "its own way from there. Nothing is copied. Prints the new stream's URL."
)
EXAMPLES = """  durable-streams fork orders orders-test
  durable-streams fork chat/1 chat/1-again --offset 0000000000000001_0000000000000045
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From where to where."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    parser.add_argument(
        "to", metavar="TO", help="the new stream's path, or its URL on the same server"
    )
    parser.add_argument("--offset", metavar="OFFSET", help="where it parts; default: the tail")
    parser.add_argument(
        "--sub-offset",
        metavar="N",
        type=whole,
        help="so many messages (JSON) or bytes of the append behind --offset, too",
    )
    add_lifetime(parser)


def run(given: argparse.Namespace) -> int:
    """Fork; the exit status."""
    server = Server.of(given)
    url, to = server.stream_url(given.stream), server.stream_url(given.to)
    from durastream.client import DurableStream  # noqa: PLC0415  (slow to load)

    stream = DurableStream(url, **server.options(url, patience=PATIENCE))
    try:
        made = stream.fork(
            to,
            offset=given.offset,
            sub_offset=given.sub_offset,
            ttl=given.ttl,
            expires_at=given.expires_at,
        )
    except ValueError as error:  # it is at another server
        raise BadUsageError(str(error)) from None
    out(made.url)
    return DONE
