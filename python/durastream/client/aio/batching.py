"""Appends of several tasks that travel together."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import anyio

from durastream.client.core import gathering, jsontext, messages
from durastream.client.core.gathering import Queue, Ticket
from durastream.client.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from durastream.client.options import Message
    from durastream.client.results import Appended

GRACE = 10.0
"""Seconds that the answer to a batch is waited for when the task that sent it is cancelled."""

Waiting: TypeAlias = Ticket[anyio.Event]


class AsyncBatcher:
    """While one request is on its way, appends gather for the next. Whoever finds none on its way sends."""

    def __init__(self, send: Callable[[list[bytes], str], Awaitable[Appended]]) -> None:
        self._send = send
        self._queue: Queue[anyio.Event] = Queue()

    async def append(self, message: Message, kind: str) -> Appended:
        """Append it, alone or with others; the answer is that to the batch."""
        payload = messages.encoded(message, as_json=jsontext.is_json(kind))
        ticket = Ticket(payload, kind, anyio.Event())
        if not self._queue.join(ticket):
            try:
                await ticket.turn.wait()
            except BaseException:
                self._queue.withdraw(ticket)
                raise
        if ticket.outcome is None:
            await self._send_next()
        return ticket.result()

    async def _send_next(self) -> None:
        """Send one batch, of which the caller's ticket is the first; then the first who waits sends."""
        batch = self._queue.next_batch()
        outcome: Appended | BaseException
        try:
            outcome = await self._sent(batch)
        except Exception as error:  # noqa: BLE001  (every task of the batch must hear of it)
            outcome = error
        except BaseException:
            lost = ConnectionFailed("the task that sent this batch was cancelled")
            lost.maybe_written = True
            self._queue.settle(batch, lost)
            raise
        self._queue.settle(batch, outcome)

    async def _sent(self, batch: list[Waiting]) -> Appended:
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
                    gathering.tell(batch, outcome)
                raise
        assert outcome is not None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
