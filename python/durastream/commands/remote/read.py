"""`durable-streams read`: print a stream, and follow it."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from durastream.commands.remote import shapes
from durastream.commands.remote.ends import (
    DONE,
    FAILED,
    READER_IS_GONE,
    BadUsageError,
    interruptible,
)
from durastream.commands.remote.place import Server, seconds
from durastream.commands.report import warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from durastream.client import Chunk, StreamResponse

NAME = "read"
HELP = "print a stream, from any offset, and follow it"
DESCRIPTION = (
    "Print what is in a stream. Of a JSON stream each message takes a line; anything else comes byte for "
    "byte. Ends at the tail, or with --follow when the stream is closed. Dropped connections are resumed; "
    "nothing is left out or printed twice."
)
EXAMPLES = """  durable-streams read orders
  durable-streams read orders --follow --json pretty
  durable-streams read orders --offset now --follow      # only what is new
  durable-streams read log --follow --resume ./position  # goes on where it was ended
  durable-streams read https://streams.example.org/v1/stream/log --output jsonl | jq .offset
"""
PATIENCE: Final = 5.0
"""Seconds that a failing server is tried again for when nothing is followed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to begin, when to end, and what it looks like."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    parser.add_argument(
        "--offset",
        metavar="OFFSET",
        help="begin behind this: -1 (the start, the default), now (the tail), or an offset given before",
    )
    parser.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on with what is appended until the stream is closed",
    )
    parser.add_argument(
        "--live",
        choices=("sse", "long-poll"),
        help="follow in this way (without: by what suits the content)",
    )
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument(
        "--json",
        choices=(shapes.PRETTY, shapes.LINES),
        help="messages of a JSON stream: indented, or one a line (the default)",
    )
    shape.add_argument(
        "--output",
        choices=(shapes.RAW, shapes.JSONL),
        help="raw: what the server sends; jsonl: a line for each page, with its offset",
    )
    parser.add_argument(
        "--print-offset",
        action="store_true",
        help="print where to read on, on standard error, at the end and at Ctrl-C",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="begin at the offset in FILE if it is there, and keep it up to date",
    )
    parser.add_argument(
        "--retry-for",
        metavar="TIME",
        type=seconds,
        default=60.0,
        help="how long a follower bears a server that fails (default 60s)",
    )


def run(given: argparse.Namespace) -> int:
    """Read; the exit status."""
    following = given.follow or given.live is not None
    server = Server.of(given)
    url = server.stream_url(given.stream)
    offset = _offset(given)
    from durastream.client import stream  # noqa: PLC0415  (slow to load)

    options = server.options(url, patience=given.retry_for if following else PATIENCE)
    with interruptible():
        if following:
            _end_with_the_reader()
        reached = offset
        try:
            live = given.live or following
            with (
                _blaming(given, offset),
                stream(url, offset=offset, live=live, **options) as response,
            ):
                reached = response.offset
                for chunk in _shown(response, given.json or given.output):
                    reached = chunk.offset
                    if given.resume is not None:
                        _keep(given.resume, reached)
        except ValueError as error:
            warn(str(error))
            return FAILED
        finally:
            if given.print_offset:
                _tell(reached)
    return DONE


def _offset(given: argparse.Namespace) -> str:
    """Where to begin. Raises BadUsageError."""
    if given.resume is None:
        return given.offset or "-1"
    _check_writable(given.resume)
    if not given.resume.exists():
        return given.offset or "-1"
    if given.offset is not None:
        raise BadUsageError(
            f"--offset and {given.resume} both say where to begin; leave one out, or remove the file"
        )
    try:
        kept: str = given.resume.read_text().strip()
    except OSError as error:
        raise BadUsageError(f"--resume {given.resume}: {error.strerror}") from None
    except UnicodeDecodeError:
        kept = ""
    if not kept or len(kept.split()) != 1:
        raise BadUsageError(f"--resume {given.resume} is not a file with an offset in it")
    return kept


def _check_writable(file: Path) -> None:
    """Find out before anything is printed. Raises BadUsageError."""
    if file.is_dir():
        raise BadUsageError(f"--resume {file} is a directory; give a file")
    if not file.parent.is_dir():
        raise BadUsageError(f"--resume {file}: there is no directory {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise BadUsageError(f"--resume {file}: nothing can be written in {file.parent}")


@contextlib.contextmanager
def _blaming(given: argparse.Namespace, offset: str) -> Iterator[None]:
    """Tell where an offset came from when the server does not take it."""
    from durastream.client import BadRequest, StreamGone  # noqa: PLC0415  (slow to load)

    try:
        yield
    except (BadRequest, StreamGone):
        if given.resume is not None and given.offset is None and offset != "-1":
            warn(
                f"reading began at {offset}, which --resume {given.resume} holds; "
                "remove the file to begin at the start"
            )
        raise


def _shown(response: StreamResponse, shape_name: str | None) -> Iterator[Chunk]:
    """Print each chunk, and give it once it is written. Raises ValueError."""
    shaped = shapes.shape(response.content_type or "", shape_name)
    out = sys.stdout.buffer
    for chunk in response.iter_chunks():
        out.write(shaped(chunk))
        # A follower's reader wants it now; a page is large enough for that to cost nothing.
        out.flush()
        yield chunk


def _keep(file: Path, offset: str) -> None:
    """Write the offset so that a crash leaves the former one or this one."""
    new = file.with_name(file.name + ".new")
    try:
        new.write_text(offset + "\n")
        new.replace(file)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"--resume {file}") from error


def _tell(offset: str) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.write(f"offset: {offset}\n")


def _end_with_the_reader() -> None:
    """End when whoever reads the output is gone, also while there is nothing to write."""
    out = sys.stdout.fileno()
    if not stat.S_ISFIFO(os.fstat(out).st_mode):
        return

    def watch() -> None:
        waiting = select.poll()
        # No event is asked for: only the other end's closing is told.
        waiting.register(out, 0)
        waiting.poll()
        os.kill(os.getpid(), READER_IS_GONE)

    threading.Thread(target=watch, daemon=True).start()
