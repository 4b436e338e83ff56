"""`IdempotentProducer`: exactly-once appends in the background, on threads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from durastream.client.core import jsontext, messages
from durastream.client.core.ledger import Ledger, Limits
from durastream.client.errors import ClientError, NotWritten
from durastream.client.lanes import Lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from durastream.client.handle import DurableStream
    from durastream.client.options import Message
    from durastream.client.results import Appended

logger = logging.getLogger("durastream.client")


class IdempotentProducer:
    """Appends each message exactly once and in order, however often it must be sent (section 5.2.1).

    `append` returns at once; batches travel in the background, up to `max_in_flight` at a time, each of up
    to `max_batch_bytes` bytes and not later than `linger` seconds after its first message. Threads may share
    one.

    No other instance may have used `epoch` with this `id`: count it up at every start, or let `auto_claim`
    take the epoch after the one that the server knows. Who is fenced later stays fenced. `replay` is for a
    program that is run again with the same input, in the same batches: what the server has already counts as
    written then, where otherwise it is `ProducerFenced`. `first_seq` is the number of the first batch, for a
    program that knows which it is.

    A batch that fails for good stops the producer, so that nothing is written out of order: its error is
    raised by the next `append`, `flush`, `close` or `detach`, with every message not confirmed in
    `error.unwritten`; `on_error` hears of both at once, from a background thread. `restart` goes on with a
    new epoch.
    """

    def __init__(
        self,
        stream: DurableStream,
        id: str,  # noqa: A002  (the protocol's name)
        *,
        epoch: int = 0,
        auto_claim: bool = False,
        replay: bool = False,
        first_seq: int = 0,
        max_batch_bytes: int = 1 << 20,
        max_batch_messages: int | None = None,
        linger: float = 0.005,
        max_in_flight: int = 5,
        max_buffered_bytes: int = 16 << 20,
        on_error: Callable[[ClientError, Sequence[Message]], None] | None = None,
    ) -> None:
        self._stream = stream
        limits = Limits(
            max_batch_bytes, max_batch_messages, linger, max_in_flight, max_buffered_bytes
        )
        self._ledger = Ledger(id, epoch, auto_claim, limits, replay=replay, next_seq=first_seq)
        self._lanes = Lanes(self._ledger, on_error)
        self._most_bytes = max_buffered_bytes
        self._on_error = on_error
        self._as_json: bool | None = None

    @property
    def epoch(self) -> int:
        """The epoch in use; with `auto_claim` it may grow."""
        return self._ledger.epoch

    @property
    def next_seq(self) -> int:
        """The sequence number of the next batch."""
        return self._ledger.next_seq

    @property
    def pending(self) -> int:
        """How many messages the server has not confirmed yet."""
        return self._ledger.pending

    @property
    def acknowledged(self) -> Appended | None:
        """The answer to the highest batch confirmed; answers may come out of order."""
        return self._ledger.acknowledged

    def append(self, message: Message) -> None:
        """Take a message. Waits only when `max_buffered_bytes` are unconfirmed. Raises what failed before."""
        as_json = self._as_json
        if as_json is None:
            as_json = self._start()
        payload = messages.encoded(message, as_json=as_json)
        ledger, lanes = self._ledger, self._lanes
        with lanes.lock:
            if ledger.pending_bytes >= self._most_bytes:
                self._lanes.changed.wait_for(lambda: not ledger.full or lanes.over())
            if ledger.failure is not None or lanes.ended:
                self._raise_if_over()
            if ledger.add(message, payload):
                self._lanes.changed.notify_all()

    def flush(self, timeout: float | None = None) -> None:
        """Wait (at most `timeout` seconds: `TimeoutError`) until everything given is confirmed."""
        ledger, lanes = self._ledger, self._lanes
        with self._lanes.changed:
            ledger.flushing += 1
            self._lanes.changed.notify_all()
            try:
                settled = self._lanes.changed.wait_for(lambda: ledger.idle or lanes.over(), timeout)
            finally:
                ledger.flushing -= 1
            if ledger.failure is not None:
                self._raise_if_over()
            if not settled:
                raise TimeoutError(f"{ledger.pending} messages are not confirmed after {timeout} s")

    def close(self, final: Message | None = None) -> Appended:
        """Flush, then close the stream, atomically with a last message if given. The producer ends.

        Closing again gives the first answer and writes nothing.
        """
        ledger = self._ledger
        if ledger.closed is None:
            as_json = self._start()
            given = [] if final is None else [final]
            payloads = [messages.encoded(message, as_json=as_json) for message in given]
            with self._lanes.changed:
                self._raise_if_over()
                if not ledger.closing:  # else an interrupted close is on its way
                    ledger.add_closing(given, payloads)
            self.detach()
        if ledger.closed is None:
            self._raise_if_over()
        assert ledger.closed is not None
        return ledger.closed

    def detach(self) -> None:
        """Flush and end the producer; the stream stays open."""
        if self._lanes.ended:
            return
        self.flush()
        self._lanes.stop()

    def restart(self) -> None:
        """Flush (not after a failure), then go on with the next epoch from sequence number 0."""
        ledger, lanes = self._ledger, self._lanes
        if ledger.failure is None:
            self.flush()
        with self._lanes.changed:
            self._lanes.changed.wait_for(lambda: ledger.settled or lanes.ended)
            if lanes.ended:
                self._raise_if_over()
            ledger.restart()

    def cancel(self) -> Sequence[Message]:
        """End at once; gives the messages not confirmed. Each of them may or may not have been written."""
        return self._lanes.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detach. After an exception of the block, what could not be written is in its notes."""
        if error is None:
            try:
                self.detach()
            finally:
                self._lanes.stop()
            return
        try:
            if isinstance(error, Exception):
                self.detach()
        except ClientError as failed:
            error.add_note(f"{self!r}: {len(failed.unwritten)} messages were not written: {failed}")
        finally:
            if lost := self.cancel():
                error.add_note(f"{self!r}: {len(lost)} messages are not confirmed")
                if self._on_error is not None:
                    self._on_error(self._not_confirmed(lost), lost)

    def __repr__(self) -> str:
        ledger = self._ledger
        return f"<IdempotentProducer {ledger.id!r} epoch {ledger.epoch} of {self._stream.url}>"

    def __del__(self) -> None:
        if hasattr(self, "_lanes") and (lost := self._lanes.abandon()):
            logger.warning("%r was dropped with %d messages not confirmed", self, lost)

    def _start(self) -> bool:
        """Learn the content type and start sending; whether the stream holds JSON."""
        if self._as_json is None:
            kind, delivery, client, timeout = self._stream._for_producer(self._ledger)
            with self._lanes.changed:
                self._raise_if_over()
                self._lanes.start(delivery, client, timeout)
            self._as_json = jsontext.is_json(kind)
        return self._as_json

    def _raise_if_over(self) -> None:
        if self._ledger.failure is not None:
            raise self._ledger.failure
        if self._lanes.ended:
            raise NotWritten(f"{self!r} has ended: make another one", url=self._stream.url)

    def _not_confirmed(self, lost: Sequence[Message]) -> NotWritten:
        error = NotWritten(f"{len(lost)} messages are not confirmed", url=self._stream.url)
        error.unwritten = lost
        return error
