"""Bytes that have come on a connection of an event loop already, read past the loop.

For each piece a loop is told to watch the connection, runs, and is told not to: for nothing, where bytes are
waiting anyway. Where this is not the anyio, trio and httpcore that we know, nothing is found.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sized

READ_SIZE: Final = 96 << 10
"""Bytes read at once: more would be memory that the system has to bring first."""
TURN: Final = 512 << 10
"""Bytes after which the others on the loop have their turn."""


class AtHand:
    """The reading half of a socket that a loop watches only while somebody waits for it."""

    def __init__(self, sock: Any, queue: Sized) -> None:  # noqa: ANN401  (asyncio's or trio's)
        self._sock = sock
        self._queue = queue
        """What the loop has read and nobody has taken: that comes first."""
        self._turn = TURN
        self.spent = False
        """Others on the loop have to have their turn before the next read."""

    def read(self, most: int) -> bytes:
        """Up to `most` bytes. Empty when only the loop can tell: nothing, an end, a failure."""
        if self._queue:
            return b""
        try:
            # Not the socket's own method: asyncio's has none, trio's is asynchronous.
            found = os.read(self._sock.fileno(), min(most, READ_SIZE))
        except OSError:
            found = b""
        self._count(len(found))
        return found

    def read_into(self, room: memoryview) -> int:
        """As `read`, into memory that is there; how many bytes."""
        if self._queue:
            return 0
        try:
            count = os.readv(self._sock.fileno(), (room,))
        except OSError:
            count = 0
        self._count(count)
        return count

    def _count(self, read: int) -> None:
        self._turn = self._turn - read if read else TURN
        if self._turn <= 0:
            self._turn, self.spent = TURN, True


def at_hand(stream: Any) -> AtHand | None:  # noqa: ANN401  (httpcore's network stream)
    """For a connection without TLS."""
    if os.name != "posix":
        return None  # a socket is no file there
    inner = getattr(stream, "_stream", None)
    trio = sys.modules.get("trio")
    if trio is not None and isinstance(inner, trio.SocketStream):
        found: tuple[Any, Sized] = inner.socket, ()
    else:
        queue = getattr(getattr(inner, "_protocol", None), "read_queue", None)
        transport = getattr(inner, "_transport", None)
        if queue is None or transport is None:
            return None
        found = transport.get_extra_info("socket"), queue
    sock, _ = found
    if sock is None or sock.fileno() < 0 or os.get_blocking(sock.fileno()):
        return None
    return AtHand(*found)
