"""Which waiting appends travel together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from durastream.client.results import Appended

MAX_BATCH_BYTES = 1 << 20


@dataclass(eq=False)
class Ticket:
    """One append that waits for its batch."""

    payload: bytes
    kind: str
    outcome: Appended | BaseException | None = None

    def result(self) -> Appended:
        """What became of its batch."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome


AnyTicket = TypeVar("AnyTicket", bound=Ticket)


def next_batch(queue: list[AnyTicket]) -> list[AnyTicket]:
    """Take from the queue what goes into one request: one content type, bounded in size, one at least."""
    size, count = 0, 0
    for ticket in queue:
        size += len(ticket.payload)
        if count and (size > MAX_BATCH_BYTES or ticket.kind != queue[0].kind):
            break
        count += 1
    batch, queue[:count] = queue[:count], []
    return batch
