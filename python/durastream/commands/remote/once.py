"""`durable-streams write --producer`: each message exactly once, however often the command is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.commands.remote.ends import BadUsageError
from durastream.commands.remote.inputs import PIECE
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
    *,
    piece: int | None = None,
) -> Appended | None:
    """Write pipelined; the answer to the last batch, or to the close.

    `piece`: the messages are pieces of so many bytes each, but for the last.
    """
    from durastream.client import StreamClosed  # noqa: PLC0415  (slow to load)

    writer = _Writer(stream, given, piece)
    each = (message for together in messages for message in together)
    count = 0
    message = b""
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
            for message in each:  # noqa: B007  (the last one counts)
                count += 1
            return _closed_before(stream, given, count, len(message) if piece else None)
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

    Nor does it tell how long the last of several pieces was. That one has a producer to itself, with its
    length for an epoch: a run with more input learns of it, and refuses.
    """

    def __init__(
        self, stream: DurableStream, given: argparse.Namespace, piece: int | None = None
    ) -> None:
        self._stream = stream
        self._given = given
        self._piece = piece
        self._batch: int = 1 if piece else given.batch
        self._known = 0
        """How many whole batches earlier runs have written."""
        self._last_piece: tuple[int, int] | None = None
        """Behind how many whole ones an earlier run's input ended in a piece, and how long that was."""
        self._whole = _producer(stream, given, given.producer, self._batch)
        self._single: IdempotentProducer | None = None
        self._together: list[bytes] = []
        self._batches = 0
        self._go_over_at: int | None = None
        """How many whole batches there are before single messages, if an earlier run wrote such."""

    def begin(self) -> None:
        """Look for an earlier run whose input ended within a batch."""
        if self._batch == 1 and self._piece is None:
            return
        stream, epoch = self._stream, self._given.epoch
        self._known = stream.next_producer_seq(self._given.producer, epoch=epoch)
        if self._piece is not None:
            self._look_for_a_last_piece(self._known)
        elif stream.next_producer_seq(_rest(self._given, self._known), epoch=epoch):
            self._go_over_at = self._known

    def _look_for_a_last_piece(self, pieces: int) -> None:
        from durastream.client import ProducerFenced  # noqa: PLC0415  (slow to load)

        try:
            self._stream.next_producer_seq(_last(self._given, pieces), epoch=0)
        except ProducerFenced as there:
            self._last_piece = pieces, there.current_epoch

    def append(self, message: bytes) -> None:
        """Send it, or keep it until its batch is whole. Raises BadUsageError."""
        if self._last_piece is not None and self._batches == self._last_piece[0]:
            self._check_last_piece(len(message), self._last_piece[1])
        if self._piece is not None and len(message) < self._piece:
            if self._batches < self._known:
                return  # the beginning of a piece that is there
            self._whole.flush()
            name = _last(self._given, self._batches)
            self._single = _producer(self._stream, self._given, name, 1, epoch=len(message))
            self._single.append(message)
            return
        if self._batches == self._go_over_at:
            self._one_by_one([message])
            return
        self._together.append(message)
        if len(self._together) == self._batch:
            for each in self._together:
                self._whole.append(each)
            self._together = []
            self._batches += 1

    def _check_last_piece(self, length: int, known: int) -> None:
        if length != known:
            assert self._piece is not None
            written = self._batches * self._piece + known
            raise BadUsageError(
                f"an earlier run with --producer {self._given.producer} had an input of {written} bytes, this"
                " one is another; write what is new of it under another name, or use --lines from the start"
            )

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
        together, self._together = self._together, []
        if together and self._batches >= self._known:  # else they begin a batch that is there
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


def _last(given: argparse.Namespace, pieces: int) -> str:
    """The producer of the last, shorter piece behind so many whole ones."""
    return f"{given.producer}+{pieces}+{given.epoch}"


def _producer(
    stream: DurableStream,
    given: argparse.Namespace,
    name: str,
    batch: int,
    *,
    first_seq: int = 0,
    epoch: int | None = None,
) -> IdempotentProducer:
    from durastream.client import IdempotentProducer  # noqa: PLC0415  (slow to load)

    return IdempotentProducer(
        stream,
        name,
        epoch=given.epoch if epoch is None else epoch,
        # What another run has written is not an error, but what is wanted.
        replay=True,
        first_seq=first_seq,
        max_batch_bytes=1 << 30,
        max_batch_messages=batch,
        # Batches of another run must be the same ones: only their number of messages may end them.
        linger=0.0 if batch == 1 else 3600.0,
    )


def _closed_before(
    stream: DurableStream, given: argparse.Namespace, count: int, last_piece: int | None
) -> Appended:
    """The answer to the close at the end of an earlier run with this input.

    A closed stream knows no number but that of its close. The close is repeated by the producer and with the
    number that it has behind all of the input: that was it only if all of the input is written. Raises
    StreamClosed when somebody else closed the stream, or another input did, or this one in pieces.
    """
    epoch = None
    if last_piece is None:
        batches, left = divmod(count, given.batch)
        name, seq = (_rest(given, batches), left) if left else (given.producer, batches)
    elif 0 < last_piece < PIECE:
        name, seq, epoch = _last(given, count - 1), 1, last_piece
    else:
        name, seq = given.producer, count
    producer = _producer(stream, given, name, 1, first_seq=seq, epoch=epoch)
    try:
        return producer.close()
    finally:
        producer.cancel()
