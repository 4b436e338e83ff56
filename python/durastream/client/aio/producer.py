"""`AsyncIdempotentProducer`: exactly-once appends in the background, in tasks."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel

from durastream.client.aio.wire import CLOSE_SECONDS, AsyncWire, perform
from durastream.client.core import jsontext, messages
from durastream.client.core.ledger import Batch, Ledger, Limits
from durastream.client.errors import ClientError, NotWritten

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from durastream.client.aio.handle import AsyncDurableStream
    from durastream.client.core.delivery import Delivery
    from durastream.client.options import Message
    from durastream.client.results import Appended

logger = logging.getLogger("durastream.client")


class AsyncIdempotentProducer:
    """As `IdempotentProducer`, for event loops. Its senders are tasks: use it with `async with`.

    `append` waits only when senders are behind. When the block is left by an exception, what was given before
    is still sent; when it is cancelled, nothing more is, and `on_error` or a warning in the log tells what is
    not confirmed.
    """

    def __init__(
        self,
        stream: AsyncDurableStream,
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
        on_error: Callable[[ClientError, Sequence[Message]], Awaitable[None] | None] | None = None,
    ) -> None:
        self._stream = stream
        limits = Limits(
            max_batch_bytes, max_batch_messages, linger, max_in_flight, max_buffered_bytes
        )
        self._ledger = Ledger(id, epoch, auto_claim, limits, replay=replay, next_seq=first_seq)
        self._on_error = on_error
        self._changed = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._scopes: list[anyio.CancelScope] = []
        self._as_json: bool | None = None
        self._ended = False

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

    async def append(self, message: Message) -> None:
        """Take a message. Waits only when the senders are behind. Raises what failed before."""
        as_json = self._as_json
        if as_json is None:
            as_json = await self._start()
        payload = messages.encoded(message, as_json=as_json)
        ledger = self._ledger
        if ledger.full or ledger.backlog >= ledger.limits.max_in_flight:
            await self._until(
                lambda: not ledger.full and ledger.backlog < ledger.limits.max_in_flight
            )
        if ledger.failure is not None or self._ended:
            self._raise_if_over()
        if ledger.add(message, payload):
            self._notify()

    async def flush(self, timeout: float | None = None) -> None:
        """Wait (at most `timeout` seconds: `TimeoutError`) until everything given is confirmed."""
        ledger = self._ledger
        ledger.flushing += 1
        self._notify()
        try:
            with anyio.fail_after(timeout):
                await self._until(lambda: ledger.idle)
        finally:
            ledger.flushing -= 1
        if ledger.failure is not None:
            self._raise_if_over()

    async def close(self, final: Message | None = None) -> Appended:
        """Flush, then close the stream, atomically with a last message if given. The producer ends.

        Closing again gives the first answer and writes nothing.
        """
        ledger = self._ledger
        if ledger.closed is None:
            as_json = await self._start()
            given = [] if final is None else [final]
            payloads = [messages.encoded(message, as_json=as_json) for message in given]
            self._raise_if_over()
            if not ledger.closing:  # else a cancelled close is on its way
                ledger.add_closing(given, payloads)
            await self.detach()
        if ledger.closed is None:
            self._raise_if_over()
        assert ledger.closed is not None
        return ledger.closed

    async def detach(self) -> None:
        """Flush and end the producer; the stream stays open."""
        if self._ended:
            return
        await self.flush()
        self.cancel()

    async def restart(self) -> None:
        """Flush (not after a failure), then go on with the next epoch from sequence number 0."""
        if self._ledger.failure is None:
            await self.flush()
        await self._until(lambda: self._ledger.settled)
        if self._ended:
            self._raise_if_over()
        self._ledger.restart()

    def cancel(self) -> Sequence[Message]:
        """End at once; gives the messages not confirmed. Each of them may or may not have been written."""
        self._ended = True
        lost = self._ledger.unconfirmed()
        self._notify()
        # Not the task group's own scope: the caller's block is within that.
        for scope in self._scopes:
            scope.cancel()
        return lost

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._tasks is not None
        try:
            if error is None:
                await self.detach()
            elif isinstance(error, Exception):
                await self._detach_after(error)
        finally:
            if lost := self.cancel():
                failed = NotWritten(f"{len(lost)} messages are not confirmed", url=self._stream.url)
                failed.unwritten = lost
                await self._tell(failed, warn=True)
            await self._tasks.__aexit__(None, None, None)

    async def _detach_after(self, error: Exception) -> None:
        try:
            await self.detach()
        except ClientError as failed:
            error.add_note(f"{self!r}: {len(failed.unwritten)} messages were not written: {failed}")

    def __repr__(self) -> str:
        ledger = self._ledger
        return f"<AsyncIdempotentProducer {ledger.id!r} epoch {ledger.epoch} of {self._stream.url}>"

    async def _start(self) -> bool:
        """Learn the content type and start sending; whether the stream holds JSON."""
        if self._tasks is None:
            raise RuntimeError(
                "enter the producer first: async with AsyncIdempotentProducer(...) as p"
            )
        if self._as_json is None:
            kind, delivery = await self._stream._for_producer(self._ledger)
            if self._as_json is None:  # another task may have been sooner
                self._raise_if_over()
                self._as_json = jsontext.is_json(kind)
                for _ in range(self._ledger.limits.max_in_flight):
                    self._tasks.start_soon(self._run, delivery)
        return self._as_json

    async def _run(self, delivery: Delivery) -> None:
        with anyio.CancelScope() as scope:
            self._scopes.append(scope)
            if not self._ended:
                await self._send(delivery)

    async def _send(self, delivery: Delivery) -> None:
        wire = _LaneWire(self)
        while True:
            batch = await self._take()
            failed: ClientError
            try:
                answer = await perform(delivery.of(batch), wire)
            except ClientError as error:
                failed = error
            except Exception as error:  # noqa: BLE001  (a callable header that raises, say)
                failed = NotWritten(f"cannot append: {type(error).__name__}: {error}")
                failed.__cause__ = error
            else:
                self._ledger.confirmed(batch, answer)
                await self._concluded()
                continue
            self._ledger.failed(batch, failed)
            await self._concluded()

    async def _take(self) -> Batch:
        while True:
            found = self._ledger.take()
            if isinstance(found, Batch):
                if self._ledger.backlog + 1 == self._ledger.limits.max_in_flight:
                    self._notify()
                return found
            with anyio.move_on_after(found):
                await self._changed.wait()

    async def _concluded(self) -> None:
        """A batch has been confirmed or has failed: tell, and tell of the failure once it is complete."""
        failure = self._ledger.failure
        told = False
        if failure is not None and self._ledger.settled and not self._ended:
            failure.unwritten = self._ledger.unconfirmed()
            told = True
        self._notify()
        if told and failure is not None:
            await self._tell(failure)

    async def _tell(self, failure: ClientError, *, warn: bool = False) -> None:
        if self._on_error is None:
            if warn:
                logger.warning("%r: %s", self, failure)
            return
        try:
            answer = self._on_error(failure, failure.unwritten)
            if inspect.isawaitable(answer):
                with anyio.move_on_after(CLOSE_SECONDS, shield=True):
                    await answer
        except Exception:
            logger.exception("the on_error of %r failed", self)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end of the producer."""
        while not condition() and not self._ended:
            if self._ledger.failure is not None and self._ledger.settled:
                return
            await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _raise_if_over(self) -> None:
        if self._ledger.failure is not None:
            raise self._ledger.failure
        if self._ended:
            raise NotWritten(f"{self!r} has ended: make another one", url=self._stream.url)


class _LaneWire(AsyncWire):
    """A wire whose batches may have to wait for those before them."""

    def __init__(self, producer: AsyncIdempotentProducer) -> None:
        stream: Any = producer._stream
        super().__init__(stream._used(), own=stream._client is None, timeout=stream._timeout)
        self._producer = producer

    async def predecessors(self, batch: Batch) -> None:
        """Wait until no batch before this one is on its way."""
        ledger = self._producer._ledger
        while not (ledger.first(batch) or ledger.hopeless(batch)):
            await self._producer._changed.wait()
