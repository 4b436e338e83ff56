"""Which waiting appends travel together, and whose turn it is to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durastream.client.results import Appended

MAX_BATCH_BYTES = 1 << 20


class Turn(Protocol):
    """An event of threads or of tasks."""

    def set(self) -> object:
        """Wake who waits for it."""

    def is_set(self) -> bool:
        """Whether it was set."""


TurnT = TypeVar("TurnT", bound=Turn)


@dataclass(eq=False)
class Ticket(Generic[TurnT]):
    """One append; who gave it waits for `turn`: there is an outcome, or it sends the next batch."""

    payload: bytes
    kind: str
    turn: TurnT
    outcome: Appended | BaseException | None = None

    def result(self) -> Appended:
        """What became of its batch."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome


class Queue(Generic[TurnT]):
    """Appends that wait while a request is on its way. Not safe for threads: the twins guard it."""

    def __init__(self) -> None:
        self._waiting: list[Ticket[TurnT]] = []
        self._sending = False

    def join(self, ticket: Ticket[TurnT]) -> bool:
        """Wait with the others; whether nobody sends, so that it is this one's turn at once."""
        self._waiting.append(ticket)
        mine = not self._sending
        self._sending = True
        return mine

    def next_batch(self) -> list[Ticket[TurnT]]:
        """Take out what goes into one request: one content type, bounded in size, one at least."""
        waiting = self._waiting
        size, count = 0, 0
        for ticket in waiting:
            size += len(ticket.payload)
            if count and (size > MAX_BATCH_BYTES or ticket.kind != waiting[0].kind):
                break
            count += 1
        batch, waiting[:count] = waiting[:count], []
        return batch

    def withdraw(self, ticket: Ticket[TurnT]) -> None:
        """A wait given up: it leaves, and if it was its turn to send, the next one's comes."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            if ticket.turn.is_set():
                self._pass_on()

    def settle(self, batch: list[Ticket[TurnT]], outcome: Appended | BaseException) -> None:
        """Tell a batch what became of it; then the first who waits sends."""
        tell(batch, outcome)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting[0].turn.set()
        else:
            self._sending = False


def tell(batch: Sequence[Ticket[TurnT]], outcome: Appended | BaseException) -> None:
    """Give everyone in a batch its outcome; the first one told stands."""
    for ticket in batch:
        if ticket.outcome is None:
            ticket.outcome = outcome
        ticket.turn.set()
