"""`durable-streams write`: append arguments, a file or standard input to a stream."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from durastream.commands import standard
from durastream.commands.remote import inputs, once
from durastream.commands.remote.create import PATIENCE, add_lifetime
from durastream.commands.remote.ends import DONE, BadUsageError, interruptible
from durastream.commands.remote.place import Server, seconds
from durastream.commands.remote.progress import Progress
from durastream.commands.report import out, plural, size, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from durastream.client import Appended, DurableStream, StreamHead
    from durastream.commands.remote.inputs import Messages

NAME = "write"
HELP = "append arguments, a file or standard input"
DESCRIPTION = (
    "Append to a stream: each MESSAGE, or a file, or standard input. Without another word a file is sent "
    "byte for byte in pieces; to a JSON stream, as one message."
)
EXAMPLES = """  durable-streams write orders '{"id": 1}' '{"id": 2}'
  durable-streams write orders --batch-json --file orders.json
  tail -n 0 -F app.log | durable-streams write log --lines
  durable-streams write import --lines --file rows.jsonl --producer import-7  # repeatable
  durable-streams write video --create --content-type video/mp4 --file film.mp4 --close
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is written, how it is cut, and what becomes of the stream."""
    parser.add_argument("stream", metavar="STREAM", help="a stream's path, or its URL")
    # With a default: argparse calls what has none required.
    parser.add_argument(
        "messages", metavar="MESSAGE", nargs="*", default=[], help="each one message"
    )
    parser.add_argument("--file", metavar="FILE", help="send this file; - is standard input")
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument(
        "--json",
        action="store_true",
        help="one JSON value is one message, checked before it is sent",
    )
    cut.add_argument(
        "--batch-json", action="store_true", help="a JSON array, each element of it a message"
    )
    cut.add_argument(
        "--lines",
        action="store_true",
        help="each line a message: for a JSON stream one value (JSON Lines), else with its line end",
    )
    parser.add_argument(
        "--content-type",
        metavar="TYPE",
        help="the stream's content type; without it the server is asked",
    )
    parser.add_argument(
        "--create",
        action="store_true",
        help="create the stream if it is not there; one that is there has to be of the type and lifetime "
        "given, if any is",
    )
    add_lifetime(parser)
    parser.add_argument("--close", action="store_true", help="close the stream behind it")
    parser.add_argument(
        "--seq",
        metavar="TEXT",
        help="Stream-Seq of a single message: refused unless greater than the last",
    )
    parser.add_argument(
        "--if-match",
        metavar="OFFSET",
        help="append a single message only if this is the tail (servers that know If-Match)",
    )
    once = parser.add_argument_group(
        "exactly once",
        "With --producer each message has a sequence number, counted from 0. Whatever failed, or was ended "
        "in the middle, can be run again with the same input, or more of it, and the same producer and "
        "epoch: what had arrived is not written again.",
    )
    once.add_argument("--producer", metavar="ID", help="a name of your choice for this input")
    once.add_argument(
        "--epoch",
        metavar="N",
        type=_count,
        default=0,
        help="counted up, it begins anew and shuts out writers with a lower one (default 0)",
    )
    once.add_argument(
        "--batch",
        metavar="N",
        type=_count,
        default=1,
        help="messages that share a sequence number and a request; the same for every run (default 1)",
    )
    once.add_argument(
        "--retry-for",
        metavar="TIME",
        type=seconds,
        default=60.0,
        help="how long a failing server is tried again for (default 60s)",
    )
    parser.add_argument(
        "--print-offset", action="store_true", help="print the end of what was written"
    )
    parser.add_argument(
        "--progress",
        choices=("auto", "always", "never"),
        default="auto",
        help="a progress bar on standard error; auto: when it is a terminal",
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) >= 1 << 53:
        raise ValueError(text)
    return int(text)


_count.__name__ = "number"


def run(given: argparse.Namespace) -> int:
    """Write; the exit status."""
    _check(given)
    server = Server.of(given)
    url = server.stream_url(given.stream)
    with contextlib.ExitStack() as opened:
        fd, where = _opened(given, opened)
        from durastream.client import DurableStream  # noqa: PLC0415  (slow to load)

        patience = given.retry_for if given.producer is not None else PATIENCE
        stream = DurableStream(
            url, content_type=_content_type(given), **server.options(url, patience=patience)
        )
        content_type = _known(stream, given)
        messages = _messages(given, fd, where, as_json=_is_json(content_type))
        total = _total(given, fd)
        progress = opened.enter_context(Progress(total, shown=_wants_progress(given, fd)))
        with interruptible():
            if given.producer is None:
                last = _write(stream, given, messages, progress)
            else:
                bytewise = _is_raw(given, as_json=_is_json(content_type))
                piece = inputs.PIECE if bytewise else None
                last = once.produce(stream, given, messages, progress, piece=piece)
            _summary(progress, last)
    if given.print_offset and last is not None:
        out(last.offset)
    return DONE


def _check(given: argparse.Namespace) -> None:
    """Refuse what does not go together. Raises BadUsageError."""
    if given.messages and given.file is not None:
        raise BadUsageError("give messages or --file, not both")
    if given.messages and (given.lines or given.batch_json):
        raise BadUsageError("--lines and --batch-json cut a file; a MESSAGE is one message")
    single = len(given.messages) == 1 or (given.json and not given.messages)
    for flag, value in (("--seq", given.seq), ("--if-match", given.if_match)):
        if value is not None and (not single or given.producer is not None):
            raise BadUsageError(f"{flag} is for a single MESSAGE, without --producer")
    if given.producer is None and (given.epoch or given.batch != 1):
        raise BadUsageError("--epoch and --batch need --producer")
    if given.producer == "":
        raise BadUsageError("--producer needs a name that is not empty")
    if given.batch < 1:
        raise BadUsageError("--batch is at least 1")
    lifetime = given.ttl is not None or given.expires_at is not None
    if lifetime and not given.create:
        raise BadUsageError("--ttl and --expires-at are for a stream that --create creates")


def _opened(given: argparse.Namespace, opened: contextlib.ExitStack) -> tuple[int, str]:
    """The descriptor that is read, if any, and what it is called."""
    if given.messages:
        return -1, ""
    if given.file in (None, "-"):
        fd = sys.stdin.fileno()
        if not standard.readable(fd):
            raise BadUsageError("standard input is closed; give messages, --file or a pipe")
        if os.isatty(fd):
            warn("reading from the terminal; Ctrl-D ends it")
        return fd, "standard input"
    try:
        file = opened.enter_context(open(given.file, "rb", buffering=0))  # noqa: PTH123, SIM115
    except OSError as error:
        raise BadUsageError(f"--file {given.file}: {error.strerror}") from None
    return file.fileno(), given.file


def _content_type(given: argparse.Namespace) -> str | None:
    if given.content_type is None and (given.json or given.batch_json):
        return "application/json"
    asked: str | None = given.content_type
    return asked


def _known(stream: DurableStream, given: argparse.Namespace) -> str:
    """The stream's content type, asked for if need be; creates the stream if that is wanted."""
    from durastream.client import errors  # noqa: PLC0415  (slow to load)

    if given.create:
        wanted = _content_type(given)
        try:
            return stream.create(wanted, ttl=given.ttl, expires_at=given.expires_at).content_type
        except errors.StreamExists:
            found: StreamHead | None = None
            with contextlib.suppress(errors.ClientError):
                found = stream.connect()
            if found is None or not _will_do(given, found, wanted):
                raise
            return found.content_type
    return stream.content_type or stream.connect().content_type


def _will_do(given: argparse.Namespace, found: StreamHead, wanted: str | None) -> bool:
    """Whether a stream that is there serves one who would have created it."""
    if given.producer is not None and given.close and found.closed:
        # An earlier run may have closed it; whether it did is for `once` to find out.
        return wanted in (None, found.content_type)
    # Nothing was said of how it should be: then it is as it should be.
    return wanted is None and given.ttl is None and given.expires_at is None


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _is_raw(given: argparse.Namespace, *, as_json: bool) -> bool:
    """Whether the input is sent byte for byte, in pieces of no meaning."""
    return not (given.messages or given.batch_json or given.lines or given.json or as_json)


def _messages(
    given: argparse.Namespace, fd: int, where: str, *, as_json: bool
) -> Iterator[Messages]:
    if given.messages:
        checked = inputs.json_value if given.json or as_json else None
        return inputs.arguments(given.messages, checked=checked)
    if given.batch_json:
        return inputs.json_array(fd, where)
    if given.lines:
        return inputs.lines(fd, where, as_json=as_json)
    if given.json or as_json:
        return inputs.one_json(fd, where)
    return inputs.raw(fd, full=given.producer is not None)


def _total(given: argparse.Namespace, fd: int) -> int | None:
    """How many bytes will be sent, when that is known."""
    if given.messages:
        return sum(len(os.fsencode(message)) for message in given.messages)
    about = os.fstat(fd)
    return about.st_size if stat.S_ISREG(about.st_mode) else None


def _wants_progress(given: argparse.Namespace, fd: int) -> bool:
    if given.progress != "auto":
        return bool(given.progress == "always")
    # Who types at the terminal sees for himself.
    return sys.stderr.isatty() and not (fd >= 0 and os.isatty(fd))


def _write(
    stream: DurableStream,
    given: argparse.Namespace,
    messages: Iterator[Messages],
    progress: Progress,
) -> Appended | None:
    """One request after the other; the answer to the last."""
    last = None
    try:
        conditions = {"seq": given.seq, "if_match": given.if_match}
        for together in messages:
            last = stream.append_many(together, **conditions)
            progress.add(sum(map(len, together)), len(together))
        if given.close:
            last = stream.close()
    except BaseException:
        # An end in the middle: what is certain is told, before why.
        progress.clear()
        if progress.messages:
            warn(f"written before this: {_amount(progress)}")
        raise
    return last


def _amount(progress: Progress) -> str:
    return f"{plural(progress.messages, 'message')}, {size(progress.bytes)}"


def _summary(progress: Progress, last: Appended | None) -> None:
    progress.clear()
    if sys.stderr.isatty():
        tail = "" if last is None else f"; the tail is {last.offset}"
        sys.stderr.write(f"written: {_amount(progress)}{tail}\n")
