"""`IdempotentProducer`: exactly-once appends in the background, on threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from durastream.client.errors import ClientError
    from durastream.client.handle import DurableStream
    from durastream.client.options import Message
    from durastream.client.results import Appended


class IdempotentProducer:
    """Appends each message exactly once and in order, however often it must be sent (section 5.2.1).

    `append` returns at once; batches travel in the background, up to `max_in_flight` at a time, each of
    up to `max_batch_bytes` bytes and not later than `linger` seconds after its first message. Threads
    may share one.

    The server must never have seen `epoch` with this `id` from another instance: count it up at every
    start, or let `auto_claim` take the next one when the server knows a newer.

    `on_error(error, messages)` hears of each batch that failed for good; without it the error is raised
    by the next `append`, `flush` or `close`. A failed batch stops the producer, so that nothing after it
    is written out of order; what it held is in `NotWritten.messages`.
    """

    def __init__(
        self,
        stream: DurableStream,
        id: str,  # noqa: A002  (the protocol's name)
        *,
        epoch: int = 0,
        auto_claim: bool = False,
        max_batch_bytes: int = 1 << 20,
        max_batch_messages: int | None = None,
        linger: float = 0.005,
        max_in_flight: int = 5,
        max_buffered_bytes: int = 64 << 20,
        on_error: Callable[[ClientError, Sequence[Message]], None] | None = None,
    ) -> None:
        raise NotImplementedError

    @property
    def epoch(self) -> int:
        """The epoch in use; with `auto_claim` it may grow."""
        raise NotImplementedError

    @property
    def next_seq(self) -> int:
        """The sequence number of the next batch."""
        raise NotImplementedError

    @property
    def pending(self) -> int:
        """How many messages the server has not confirmed yet."""
        raise NotImplementedError

    @property
    def acknowledged(self) -> Appended | None:
        """The answer to the last batch confirmed."""
        raise NotImplementedError

    def append(self, message: Message) -> None:
        """Take a message.

        Waits only when `max_buffered_bytes` are unconfirmed. Raises what failed before.
        """
        raise NotImplementedError

    def flush(self, timeout: float | None = None) -> None:
        """Wait (at most `timeout` seconds: `TimeoutError`) until everything given is confirmed."""
        raise NotImplementedError

    def close(self, final: Message | None = None) -> Appended:
        """Flush, then close the stream, atomically with a last message if given. The producer ends."""
        raise NotImplementedError

    def detach(self) -> None:
        """Flush and end the producer; the stream stays open."""
        raise NotImplementedError

    def restart(self) -> None:
        """Flush, then go on with the next epoch from sequence number 0."""
        raise NotImplementedError

    def cancel(self) -> Sequence[Message]:
        """End at once; gives the messages not confirmed. Each of them may or may not have been written."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Detach; an exception of the block goes first, with a note of what was not written."""
        self.detach()
