"""`durable-streams write --producer`: each message exactly once, however often the command is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.commands.report import plural, warn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from durastream.client import Appended, DurableStream
    from durastream.commands.remote.inputs import Messages
    from durastream.commands.remote.progress import Progress


def produce(
    stream: DurableStream,
    given: argparse.Namespace,
    messages: Iterator[Messages],
    progress: Progress,
) -> Appended | None:
    """Write pipelined; the answer to the last batch, or to the close."""
    from durastream.client import IdempotentProducer, StreamClosed  # noqa: PLC0415  (slow to load)

    producer = IdempotentProducer(
        stream,
        given.producer,
        epoch=given.epoch,
        # What another run has written is not an error, but what is wanted.
        replay=True,
        max_batch_bytes=1 << 30,
        max_batch_messages=given.batch,
        # Batches of another run must be the same ones: only their number of messages may end them.
        linger=0.0 if given.batch == 1 else 3600.0,
    )
    each = (message for together in messages for message in together)
    count = 0
    try:
        try:
            for message in each:
                count += 1
                producer.append(message)
                progress.add(len(message), 1)
            if given.close:
                return producer.close()
            producer.detach()
        except StreamClosed:
            if not given.close:
                raise
            count += sum(1 for _ in each)
            return _closed_before(stream, given, count)
    except BaseException:
        progress.clear()
        sure = progress.messages - producer.pending
        producer.cancel()
        again = f"run it again with --producer {given.producer} --epoch {given.epoch} to go on"
        warn(f"{plural(sure, 'message')} of the input arrived for certain; {again}")
        raise
    return producer.acknowledged


def _closed_before(stream: DurableStream, given: argparse.Namespace, count: int) -> Appended:
    """The answer to the close at the end of an earlier run with this input.

    A closed stream knows no number but that of its close. The close is repeated with the number that it has
    behind all of the input: that was it only if all of the input is written. Raises StreamClosed when
    somebody else closed the stream, or another input did.
    """
    from durastream.client import IdempotentProducer  # noqa: PLC0415  (slow to load)

    producer = IdempotentProducer(
        stream,
        given.producer,
        epoch=given.epoch,
        replay=True,
        first_seq=-(-count // given.batch),
    )
    try:
        return producer.close()
    finally:
        producer.cancel()
