"""How commands end: exit statuses, messages, signals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from durastream.errors import DurableStreamError

DONE: Final = 0
FAILED: Final = 1
BAD_USAGE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
UNREACHABLE: Final = 5
UNAUTHORIZED: Final = 6

EXIT_STATUS: Final = """exit status:
  0  done                             4  refused: it exists, is closed, was moved on
  1  the server or this side failed      or fenced; the message says which
  2  wrong usage                      5  the server cannot be reached
  3  no such stream (any more)        6  credentials are missing or not enough
"""


class BadUsageError(Exception):
    """Arguments that cannot be used: what was wrong, what would be right."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM came while there is something to say about it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


READER_IS_GONE: Final = signal.SIGUSR1
"""What a thread that watches standard output sends: SIGPIPE itself has to stay ignored."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` for SIGINT, SIGTERM and READER_IS_GONE.

    Elsewhere the first two end the process without a word.
    """

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        del frame
        # Once: whoever presses Ctrl-C again wants the end, not the words.
        restore()
        raise Interrupted(signal.SIGPIPE if number == READER_IS_GONE else number)

    def restore() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        # The watching thread lives on.
        signal.signal(READER_IS_GONE, signal.SIG_IGN)

    for number in (signal.SIGINT, signal.SIGTERM, READER_IS_GONE):
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        restore()


def die_by(number: int) -> NoReturn:
    """End as a process that the signal killed: shells and scripts look at that."""
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # Only where the signal is blocked.
    os._exit(128 + number)


def said(error: OSError) -> str:
    """What the system refused, in words for whoever gave the command."""
    if error.errno == errno.EBADF:
        return "standard output is closed: there is nowhere to print to"
    reason = error.strerror or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"


UNTRUSTED: Final = "give --ca-cert FILE to trust the authority of its certificate"
CREDENTIALS: Final = "give --auth, or DURABLE_STREAMS_AUTH"
IS_IT_TLS: Final = "if it speaks TLS, its URL begins with https://"


def advice(error: BaseException, url: str) -> str:
    """What to do about a failure, as far as a flag helps: the end of its message, or nothing."""
    import ssl  # noqa: PLC0415  (loaded by whoever raised it, or of no use)

    from durastream.client import errors  # noqa: PLC0415  (loaded by whoever raised it)

    if isinstance(error, errors.Unauthorized):
        return f"; {CREDENTIALS}"
    within: BaseException | None = error
    while within is not None:
        if isinstance(within, ssl.SSLCertVerificationError):
            return f"; {UNTRUSTED}"
        if _no_http(within) and url.lower().startswith("http://"):
            return "" if IS_IT_TLS in str(error) else f"; {IS_IT_TLS}"
        within = within.__cause__ or within.__context__
    return ""


def _no_http(error: BaseException) -> bool:
    """Whether the answer was no HTTP at all: a TLS server sends an alert, or hangs up."""
    said = str(error)
    return type(error).__name__ == "RemoteProtocolError" and (
        "illegal" in said or "without sending a response" in said
    )


def status_of(error: DurableStreamError) -> int:
    """The exit status of a failure."""
    from durastream.client import errors  # noqa: PLC0415  (loaded by whoever raised it)

    match error:
        case errors.StreamNotFound() | errors.StreamGone():
            return NOT_FOUND
        case errors.Conflict() | errors.ProducerFenced() | errors.TailMoved():
            return REFUSED
        case errors.BadRequest():
            return BAD_USAGE
        case errors.Unauthorized():
            return UNAUTHORIZED
        case errors.ConnectionFailed():
            return UNREACHABLE
        case _:
            return FAILED
