"""Appends of several threads that travel together."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from durastream.client.core import gathering, jsontext, messages
from durastream.client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream.client.options import Message
    from durastream.client.results import Appended


@dataclass(eq=False)
class Ticket(gathering.Ticket):
    """One append; its thread waits for `turn`: there is an outcome, or this thread sends the next batch."""

    turn: threading.Event = field(default_factory=threading.Event)


class Batcher:
    """While one request is on its way, appends gather for the next. Whoever finds none on its way sends."""

    def __init__(self, send: Callable[[list[bytes], str], Appended]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._queue: list[Ticket] = []
        self._sending = False

    def append(self, message: Message, kind: str) -> Appended:
        """Append it, alone or with others; the answer is that to the batch."""
        ticket = Ticket(messages.encoded(message, as_json=jsontext.is_json(kind)), kind)
        with self._lock:
            self._queue.append(ticket)
            mine = not self._sending
            self._sending = True
        if not mine:
            try:
                ticket.turn.wait()
            except BaseException:  # Ctrl-C
                self._withdraw(ticket)
                raise
        if ticket.outcome is None:
            self._send_next()
        return ticket.result()

    def _withdraw(self, ticket: Ticket) -> None:
        """A wait given up: it leaves the queue, and if it was its turn to send, the next one's comes."""
        with self._lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
                if ticket.turn.is_set():
                    self._pass_on()

    def _pass_on(self) -> None:
        if self._queue:
            self._queue[0].turn.set()
        else:
            self._sending = False

    def _send_next(self) -> None:
        """Send one batch, of which the caller's ticket is the first; then the first who waits sends."""
        with self._lock:
            batch = gathering.next_batch(self._queue)
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

    def _settle(self, batch: list[Ticket], outcome: Appended | BaseException) -> None:
        with self._lock:
            for ticket in batch:
                ticket.outcome = outcome
                ticket.turn.set()
            self._pass_on()
