"""The books of an idempotent producer: what was given, is on its way, is confirmed (section 5.2.1).

Not safe for threads: the twins guard it. Messages become batches, a batch gets its sequence number when it is
taken for sending, and numbers are taken in order. Until the first batch of an epoch is confirmed it travels
alone: a server that has never heard of the epoch refuses any other number.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from durastream.client.errors import ClientError, ProducerFenced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durastream.client.results import Appended

MAX_NUMBER = (1 << 53) - 1


@dataclass(eq=False, slots=True)
class Batch:
    """Messages that travel in one request."""

    content: bytearray
    """The messages as bytes, each with the ledger's separator behind it."""
    messages: list[Any]
    size: int
    closing: bool = False
    epoch: int = 0
    seq: int = 0
    doubtful: bool = False
    """An attempt may have arrived without our hearing of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Checked arguments of a producer."""

    max_batch_bytes: int
    max_batch_messages: int | None
    linger: float
    max_in_flight: int
    max_buffered_bytes: int

    def __post_init__(self) -> None:
        for name in (
            "max_batch_bytes",
            "max_batch_messages",
            "max_in_flight",
            "max_buffered_bytes",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        if self.linger < 0:
            raise ValueError(f"linger is {self.linger} s: it must be 0 or more")


@dataclass(eq=False, slots=True)
class Ledger:
    """One producer's state."""

    id: str
    epoch: int
    auto_claim: bool
    limits: Limits
    replay: bool = False
    """Duplicates of batches that this instance never sent are fine: an earlier one sent the same."""
    next_seq: int = 0
    separator: bytes = b""
    """What goes between messages: a comma when they are JSON. To be set before the first one is added."""
    pending: int = 0
    """Messages given and not confirmed."""
    pending_bytes: int = 0
    acknowledged: Appended | None = None
    """The answer to the highest batch confirmed: answers may come out of order."""
    closing: bool = False
    """Whether the last batch was given."""
    closed: Appended | None = None
    """The answer to the last batch, which closed the stream."""
    failure: ClientError | None = None
    flushing: int = 0
    """How many wait for a flush: nothing lingers meanwhile."""
    established: bool = False
    _highest: tuple[int, int] = (-1, -1)
    _since: float = 0.0
    _content: bytearray = field(default_factory=bytearray)
    _messages: list[Any] = field(default_factory=list)
    _size: int = 0
    _ready: deque[Batch] = field(default_factory=deque)
    _taken: dict[int, Batch] = field(default_factory=dict)
    _failed: list[Batch] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id is empty: a producer needs a name that is its own")
        if not 0 <= self.epoch <= MAX_NUMBER:
            raise ValueError(f"epoch is {self.epoch}: it must be from 0 to 2^53-1")
        if not 0 <= self.next_seq <= MAX_NUMBER:
            raise ValueError(f"first_seq is {self.next_seq}: it must be from 0 to 2^53-1")

    def add(self, message: Any, payload: bytes) -> bool:  # noqa: ANN401  (any JSON value)
        """Take a message; whether a sender may have something to do or to wait for now."""
        size = len(payload) + 1
        limits, waiting = self.limits, self._messages
        news = not waiting
        grown = self._size + size
        if waiting and grown > limits.max_batch_bytes:
            self._seal()
            waiting, grown, news = self._messages, size, True
        if news:
            self._since = time.monotonic()
        # Not kept one by one: a JSON encoder's small results may each hold kilobytes.
        self._content += payload
        self._content += self.separator
        waiting.append(message)
        self._size = grown
        self.pending += 1
        self.pending_bytes += size
        if grown >= limits.max_batch_bytes or len(waiting) == limits.max_batch_messages:
            self._seal()
            news = True
        return news

    @property
    def full(self) -> bool:
        """Whether more should wait until something is confirmed."""
        return self.pending_bytes >= self.limits.max_buffered_bytes

    @property
    def backlog(self) -> int:
        """How many batches are complete and wait for a sender."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Whether everything given is confirmed, or has failed."""
        return self.pending == 0

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way."""
        return not self._taken

    def add_closing(self, messages: list[Any], payloads: list[bytes]) -> Batch:
        """A last batch, which closes the stream, with a message or without."""
        self._seal()
        self.closing = True
        content = bytearray().join(payload + self.separator for payload in payloads)
        batch = Batch(content, messages, sum(len(p) + 1 for p in payloads), closing=True)
        self._ready.append(batch)
        self.pending += 1
        self.pending_bytes += batch.size
        return batch

    def _seal(self) -> None:
        if self._messages:
            self._ready.append(Batch(self._content, self._messages, self._size))
            self._content, self._messages, self._size = bytearray(), [], 0

    def take(self) -> Batch | float | None:
        """The next batch to send; seconds until there may be one; `None`: not before something happens."""
        allowed = self.limits.max_in_flight if self.established else 1
        if self.failure is not None or len(self._taken) >= allowed:
            return None
        if not self._ready:
            if not self._messages:
                return None
            wait = self._since + self.limits.linger - time.monotonic()
            if wait > 0 and not self.flushing:
                return wait
            self._seal()
        batch = self._ready.popleft()
        batch.epoch, batch.seq = self.epoch, self.next_seq
        self._taken[batch.seq] = batch
        self.next_seq += 1
        return batch

    def first(self, batch: Batch) -> bool:
        """Whether no batch before this one is on its way: the server must take it now."""
        return next(iter(self._taken), batch.seq) == batch.seq

    def hopeless(self, batch: Batch) -> bool:
        """Whether a batch before this one has failed: the server will never take it."""
        return any(failed.seq < batch.seq for failed in self._failed)

    def may_claim(self, batch: Batch) -> bool:
        """Whether to answer a fence with the next epoch.

        Only when nothing was written in this one: to claim again later would fight with whoever fenced us,
        and to send again what may have arrived in the old epoch would double it.
        """
        return self.auto_claim and not self.established and batch.seq == 0 and not batch.doubtful

    def claim(self, batch: Batch, known: int) -> None:
        """Go on in the epoch after the one that the server knows."""
        self.epoch = batch.epoch = max(self.epoch, known) + 1

    def confirmed(self, batch: Batch, answer: Appended) -> None:
        """The server has it."""
        self._drop(batch)
        self.established = True
        if (batch.epoch, batch.seq) > self._highest:
            self._highest = batch.epoch, batch.seq
            self.acknowledged = answer
        if batch.closing:
            self.closed = answer

    def failed(self, batch: Batch, error: ClientError) -> None:
        """It will not be written. The first failure in order is the producer's."""
        self._taken.pop(batch.seq, None)
        if self.failure is None or all(batch.seq < other.seq for other in self._failed):
            self.failure = error
        self._failed.append(batch)

    def _drop(self, batch: Batch) -> None:
        self._taken.pop(batch.seq, None)
        self.pending -= len(batch.messages) or 1  # a close without a message counts as one
        self.pending_bytes -= batch.size

    def unconfirmed(self) -> Sequence[Any]:
        """Every message not confirmed, in order; forgets them."""
        self._seal()
        batches = sorted([*self._failed, *self._taken.values()], key=lambda batch: batch.seq)
        found = [message for batch in [*batches, *self._ready] for message in batch.messages]
        self._failed, self._taken = [], {}
        self._ready.clear()
        self.pending = self.pending_bytes = 0
        return found

    def restart(self) -> None:
        """Begin the next epoch; nothing may be on its way."""
        known = self.failure.current_epoch if isinstance(self.failure, ProducerFenced) else 0
        self.epoch = max(self.epoch, known) + 1
        self.next_seq = 0
        self.failure = None
        self.established = self.closing = False
