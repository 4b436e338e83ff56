"""`durable-streams head`: what a server knows of a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from durastream.commands.remote.create import PATIENCE, add_output
from durastream.commands.remote.ends import DONE
from durastream.commands.remote.place import Server
from durastream.commands.report import out

if TYPE_CHECKING:
    import argparse

NAME = "head"
HELP = "describe a stream: type, tail, expiry, whether closed"
DESCRIPTION = "Describe a stream without reading it. That does not keep it from expiring."
EXAMPLES = """  durable-streams head orders
  durable-streams head orders --output json | jq -r .offset
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which stream."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    add_output(parser)


def run(given: argparse.Namespace) -> int:
    """Describe; the exit status."""
    server = Server.of(given)
    url = server.stream_url(given.stream)
    from durastream.client import DurableStream  # noqa: PLC0415  (slow to load)

    stream = DurableStream(url, **server.options(url, patience=PATIENCE))
    found = stream.head()
    shown = stream.url
    facts = {
        "url": shown,
        "content_type": found.content_type,
        "offset": found.offset,
        "closed": found.closed,
        "ttl": found.ttl,
        "expires_at": found.expires_at,
    }
    if given.output == "json":
        out(json.dumps(facts, ensure_ascii=False))
        return DONE
    rows = {
        "stream": shown,
        "content type": found.content_type,
        "tail": found.offset,
        "state": "closed" if found.closed else "open",
        "time to live": None if found.ttl is None else f"{found.ttl} s",
        "expires at": found.expires_at,
    }
    for name, value in rows.items():
        if value is not None:
            out(f"{name + ':':<14} {value}")
    return DONE
