"""Appends of several threads that travel together."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeAlias

from durastream.client.core import jsontext, messages
from durastream.client.core.gathering import Queue, Ticket
from durastream.client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream.client.options import Message
    from durastream.client.results import Appended

Waiting: TypeAlias = Ticket[threading.Event]


class Batcher:
    """While one request is on its way, appends gather for the next. Whoever finds none on its way sends."""

    def __init__(self, send: Callable[[list[bytes], str], Appended]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._queue: Queue[threading.Event] = Queue()

    def append(self, message: Message, kind: str) -> Appended:
        """Append it, alone or with others; the answer is that to the batch."""
        payload = messages.encoded(message, as_json=jsontext.is_json(kind))
        ticket = Ticket(payload, kind, threading.Event())
        with self._lock:
            mine = self._queue.join(ticket)
        if not mine:
            try:
                ticket.turn.wait()
            except BaseException:  # Ctrl-C
                with self._lock:
                    self._queue.withdraw(ticket)
                raise
        if ticket.outcome is None:
            self._send_next()
        return ticket.result()

    def _send_next(self) -> None:
        """Send one batch, of which the caller's ticket is the first; then the first who waits sends."""
        with self._lock:
            batch = self._queue.next_batch()
        outcome: Appended | BaseException
        try:
            outcome = self._send([ticket.payload for ticket in batch], batch[0].kind)
        except Exception as error:  # noqa: BLE001  (every thread of the batch must hear of it)
            outcome = error
        except BaseException:
            lost = ConnectionFailed("the thread that sent this batch was interrupted")
            lost.maybe_written = True
            self._settle(batch, lost)
            raise
        self._settle(batch, outcome)

    def _settle(self, batch: list[Waiting], outcome: Appended | BaseException) -> None:
        with self._lock:
            self._queue.settle(batch, outcome)
