"""Appends of several tasks that travel together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from durastream.client.core import gathering, jsontext, messages
from durastream.client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durastream.client.options import Message
    from durastream.client.results import Appended

GRACE = 10.0
"""Seconds that the answer to a batch is waited for when the task that sent it is cancelled."""


@dataclass(eq=False)
class Ticket(gathering.Ticket):
    """One append; its task waits for `turn`: there is an outcome, or this task sends the next batch."""

    turn: anyio.Event = field(default_factory=anyio.Event)


class AsyncBatcher:
    """While one request is on its way, appends gather for the next. Whoever finds none on its way sends."""

    def __init__(self, send: Callable[[list[bytes], str], Awaitable[Appended]]) -> None:
        self._send = send
        self._queue: list[Ticket] = []
        self._sending = False

    async def append(self, message: Message, kind: str) -> Appended:
        """Append it, alone or with others; the answer is that to the batch."""
        ticket = Ticket(messages.encoded(message, as_json=jsontext.is_json(kind)), kind)
        self._queue.append(ticket)
        if self._sending:
            try:
                await ticket.turn.wait()
            except BaseException:
                self._withdraw(ticket)
                raise
        if ticket.outcome is None:
            self._sending = True
            await self._send_next()
        return ticket.result()

    def _withdraw(self, ticket: Ticket) -> None:
        """A cancelled wait: it leaves the queue, and if it was its turn to send, the next one's comes."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            if ticket.turn.is_set():
                self._pass_on()

    def _pass_on(self) -> None:
        if self._queue:
            self._queue[0].turn.set()
        else:
            self._sending = False

    async def _send_next(self) -> None:
        """Send one batch, of which the caller's ticket is the first; then the first who waits sends."""
        batch = gathering.next_batch(self._queue)
        outcome: Appended | BaseException
        try:
            outcome = await self._sent(batch)
        except Exception as error:  # noqa: BLE001  (every task of the batch must hear of it)
            outcome = error
        except BaseException:
            lost = ConnectionFailed("the task that sent this batch was cancelled")
            lost.maybe_written = True
            self._settle(batch, lost)
            raise
        self._settle(batch, outcome)

    async def _sent(self, batch: list[Ticket]) -> Appended:
        payloads = [ticket.payload for ticket in batch]
        if len(batch) == 1:
            return await self._send(payloads, batch[0].kind)
        outcome: Appended | Exception | None = None
        ended = anyio.Event()
        # A cancelled sender waits for the answer: the others' appends travel with its own.
        scope = anyio.CancelScope(shield=True)

        async def send() -> None:
            nonlocal outcome
            with scope:
                try:
                    outcome = await self._send(payloads, batch[0].kind)
                except Exception as error:  # noqa: BLE001  (raised below, not in a group)
                    outcome = error
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            try:
                await ended.wait()
            except anyio.get_cancelled_exc_class():
                scope.deadline = anyio.current_time() + GRACE
                with anyio.CancelScope(shield=True):
                    await ended.wait()
                if outcome is not None:
                    self._tell(batch, outcome)
                raise
        assert outcome is not None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _tell(self, batch: list[Ticket], outcome: Appended | BaseException) -> None:
        for ticket in batch:
            if ticket.outcome is None:
                ticket.outcome = outcome
            ticket.turn.set()

    def _settle(self, batch: list[Ticket], outcome: Appended | BaseException) -> None:
        self._tell(batch, outcome)
        self._pass_on()
