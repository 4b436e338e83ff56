"""`durable-streams create`: make a stream."""

from __future__ import annotations

import argparse
import json
import os
import sys

from durastream.commands.remote import jsonpieces
from durastream.commands.remote.ends import DONE, BadUsageError
from durastream.commands.remote.place import Server
from durastream.commands.report import out

NAME = "create"
HELP = "create a stream, or make sure that it exists"
DESCRIPTION = (
    "Create a stream. One that is there with the same configuration is left as it is, and that is a "
    "success; another configuration is refused (status 4). Prints the stream's URL."
)
EXAMPLES = """  durable-streams create orders --json
  durable-streams create log --content-type text/plain --ttl 3600
  durable-streams create report --content-type text/csv --data 'a,b' --closed
"""
PATIENCE = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is created."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    add_kind(parser)
    add_lifetime(parser)
    parser.add_argument("--data", metavar="TEXT", help="the first content")
    parser.add_argument(
        "--closed", action="store_true", help="takes no more than the first content"
    )
    add_output(parser)


def add_kind(parser: argparse.ArgumentParser) -> None:
    """The content type."""
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--content-type",
        metavar="TYPE",
        help="such as text/plain; default application/octet-stream",
    )
    kind.add_argument("--json", action="store_true", help="a stream of JSON messages")


def add_lifetime(parser: argparse.ArgumentParser) -> None:
    """How long a new stream lives."""
    life = parser.add_mutually_exclusive_group()
    life.add_argument(
        "--ttl",
        metavar="SECONDS",
        type=whole,
        help="deleted when nobody has read or written it for so long",
    )
    life.add_argument(
        "--expires-at", metavar="TIME", help="deleted then, such as 2030-01-31T12:00:00Z"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """What is printed."""
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="print text (default) or JSON"
    )


def whole(text: str) -> int:
    """The type of an argument that counts."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def run(given: argparse.Namespace) -> int:
    """Create; the exit status."""
    server = Server.of(given)
    url = server.stream_url(given.stream)
    body = None if given.data is None else os.fsencode(given.data)
    if given.json and given.data is not None:
        try:
            body = jsonpieces.value(given.data).encode()
        except ValueError as error:
            raise BadUsageError(f"--data is not JSON: {error}") from None
    from durastream.client import DurableStream  # noqa: PLC0415  (slow to load)

    content_type = "application/json" if given.json else given.content_type
    stream = DurableStream(url, **server.options(url, patience=PATIENCE))
    made = stream.create(
        content_type,
        ttl=given.ttl,
        expires_at=given.expires_at,
        body=body,
        closed=given.closed,
    )
    if given.output == "json":
        facts = {
            "url": made.url,
            "created": made.created,
            "content_type": made.content_type,
            "offset": made.offset,
            "closed": made.closed,
        }
        out(json.dumps(facts, ensure_ascii=False))
    else:
        out(made.url)
        if not made.created and sys.stderr.isatty():
            sys.stderr.write("it was there already\n")
    return DONE
