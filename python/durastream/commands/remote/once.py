"""`durable-streams write --producer`: each message exactly once, however often the command is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.commands.report import plural, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from durastream.client import Appended, DurableStream, IdempotentProducer
    from durastream.commands.remote.inputs import Messages
    from durastream.commands.remote.progress import Progress


def produce(
    stream: DurableStream,
    given: argparse.Namespace,
    messages: Iterator[Messages],
    progress: Progress,
) -> Appended | None:
    """Write pipelined; the answer to the last batch, or to the close."""
    from durastream.client import StreamClosed  # noqa: PLC0415  (slow to load)

    writer = _Writer(stream, given)
    each = (message for together in messages for message in together)
    count = 0
    try:
        try:
            writer.begin()
            for message in each:
                count += 1
                writer.append(message)
                progress.add(len(message), 1)
            return writer.end(close=given.close)
        except StreamClosed:
            if not given.close:
                raise
            count += sum(1 for _ in each)
            return _closed_before(stream, given, count)
    except BaseException:
        progress.clear()
        sure = progress.messages - writer.pending
        writer.cancel()
        again = f"run it again with --producer {given.producer} --epoch {given.epoch} to go on"
        warn(f"{plural(sure, 'message')} of the input arrived for certain; {again}")
        raise


class _Writer:
    """Where messages go: whole batches to one producer, what is left at the end of the input to another.

    A sequence number does not tell how many messages its batch had. So a batch that the input ends in is not
    sent as one: its messages go one by one, by a producer named after the whole batches before it. A run with
    more input finds them there, and goes on one by one.
    """

    def __init__(self, stream: DurableStream, given: argparse.Namespace) -> None:
        self._stream = stream
        self._given = given
        self._whole = _producer(stream, given, given.producer, given.batch)
        self._single: IdempotentProducer | None = None
        self._together: list[bytes] = []
        self._batches = 0
        self._go_over_at: int | None = None
        """How many whole batches there are before single messages, if an earlier run wrote such."""

    def begin(self) -> None:
        """Look for an earlier run whose input ended within a batch."""
        if self._given.batch == 1:
            return
        stream, epoch = self._stream, self._given.epoch
        batches = stream.next_producer_seq(self._given.producer, epoch=epoch)
        if stream.next_producer_seq(_rest(self._given, batches), epoch=epoch):
            self._go_over_at = batches

    def append(self, message: bytes) -> None:
        """Send it, or keep it until its batch is whole."""
        if self._batches == self._go_over_at:
            self._one_by_one([message])
            return
        self._together.append(message)
        if len(self._together) == self._given.batch:
            for each in self._together:
                self._whole.append(each)
            self._together = []
            self._batches += 1

    def _one_by_one(self, messages: list[bytes]) -> None:
        if self._single is None:
            self._whole.flush()
            self._single = _producer(
                self._stream, self._given, _rest(self._given, self._batches), 1
            )
        for message in messages:
            self._single.append(message)

    def end(self, *, close: bool) -> Appended | None:
        """Send what is left and wait for all of it; the last answer."""
        if self._together:
            together, self._together = self._together, []
            self._one_by_one(together)
        last = self._single or self._whole
        answer = last.close() if close else None
        last.detach()
        self._whole.detach()
        if answer is not None:
            return answer
        return last.acknowledged or self._whole.acknowledged

    @property
    def pending(self) -> int:
        """How many messages are not confirmed."""
        single = 0 if self._single is None else self._single.pending
        return len(self._together) + self._whole.pending + single

    def cancel(self) -> None:
        """End at once."""
        self._whole.cancel()
        if self._single is not None:
            self._single.cancel()


def _rest(given: argparse.Namespace, batches: int) -> str:
    """The producer of the messages behind so many whole batches."""
    return f"{given.producer}+{batches}"


def _producer(
    stream: DurableStream, given: argparse.Namespace, name: str, batch: int, first_seq: int = 0
) -> IdempotentProducer:
    from durastream.client import IdempotentProducer  # noqa: PLC0415  (slow to load)

    return IdempotentProducer(
        stream,
        name,
        epoch=given.epoch,
        # What another run has written is not an error, but what is wanted.
        replay=True,
        first_seq=first_seq,
        max_batch_bytes=1 << 30,
        max_batch_messages=batch,
        # Batches of another run must be the same ones: only their number of messages may end them.
        linger=0.0 if batch == 1 else 3600.0,
    )


def _closed_before(stream: DurableStream, given: argparse.Namespace, count: int) -> Appended:
    """The answer to the close at the end of an earlier run with this input.

    A closed stream knows no number but that of its close. The close is repeated by the producer and with the
    number that it has behind all of the input: that was it only if all of the input is written. Raises
    StreamClosed when somebody else closed the stream, or another input did, or this one in pieces.
    """
    batches, left = divmod(count, given.batch)
    name, seq = (_rest(given, batches), left) if left else (given.producer, batches)
    producer = _producer(stream, given, name, given.batch, seq)
    try:
        return producer.close()
    finally:
        producer.cancel()
