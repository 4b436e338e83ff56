"""`DurableStream`: one stream at a server, without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from durastream.client.batching import Batcher
from durastream.client.core.commands import Commands
from durastream.client.core.delivery import Delivery
from durastream.client.core.reader import Reader
from durastream.client.core.target import Target
from durastream.client.options import Retry
from durastream.client.response import StreamResponse
from durastream.client.wire import Wire, perform

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    import httpx

    from durastream.client.core.ledger import Ledger
    from durastream.client.core.steps import Operation
    from durastream.client.options import Live, Message, OnError, Values
    from durastream.client.results import Appended, Created, StreamHead

T = TypeVar("T")


class DurableStream:
    """A stream at a URL. Making one sends nothing; threads may share it.

    `content_type` is learnt from `create`, `connect`, `head` or the first append when it is not given. With
    `batching`, appends of several threads that come while one is on its way travel together in the next.
    """

    def __init__(
        self,
        url: str,
        *,
        content_type: str | None = None,
        headers: Values | None = None,
        params: Values | None = None,
        client: httpx.Client | None = None,
        retry: Retry | None = None,
        timeout: float | None = None,
        batching: bool = False,
    ) -> None:
        self._commands = Commands(Target.of(url, headers, params), content_type, retry or Retry())
        self._client = client
        self._timeout = timeout
        self._batcher = Batcher(self._send_batch) if batching else None

    @property
    def url(self) -> str:
        """The stream's URL, without password and query."""
        return self._commands.target.shown

    @property
    def content_type(self) -> str | None:
        """The stream's content type, once it is known."""
        return self._commands.content_type

    def create(
        self,
        content_type: str | None = None,
        *,
        ttl: int | timedelta | None = None,
        expires_at: str | datetime | None = None,
        body: Message | None = None,
        closed: bool = False,
    ) -> Created:
        """Create the stream, or ensure that it exists with this configuration (section 5.1).

        `ttl` is in seconds, or a timedelta. `body` is the first message; with `closed` also the last. Raises
        `StreamExists`.
        """
        operation = self._commands.create(
            content_type, ttl=ttl, expires_at=expires_at, body=body, closed=closed
        )
        return self._perform(operation)

    def connect(self) -> StreamHead:
        """Check that the stream exists, and learn its content type.

        Raises `StreamNotFound`, `StreamGone`.
        """
        return self.head()

    def head(self) -> StreamHead:
        """Tail, content type, expiry and closure (section 5.5)."""
        return self._perform(self._commands.head())

    def append(
        self, message: Message, *, seq: str | None = None, if_match: str | None = None
    ) -> Appended:
        """Append one message (section 5.2).

        `seq` is a `Stream-Seq`: text that must be byte-wise greater than the last one's. `if_match` is
        an offset or an ETag: the append is taken only if that is the tail (servers that know
        `If-Match`).

        A failure that leaves open whether the message arrived is not retried: `ConnectionFailed` or
        `ServerError` with `maybe_written`. `IdempotentProducer` has no such doubt. Raises also
        `StreamClosed`, `SeqConflict`, `TailMoved`, `Conflict` (content type), `StreamNotFound`,
        `StreamGone`.
        """
        if self._batcher is not None and seq is None and if_match is None:
            kind = self._perform(self._commands.known_type())
            return self._batcher.append(message, kind)
        return self._perform(self._commands.append([message], seq=seq, if_match=if_match))

    def append_many(
        self, messages: Iterable[Message], *, seq: str | None = None, if_match: str | None = None
    ) -> Appended:
        """Append several messages in one request: all of them or none."""
        return self._perform(self._commands.append(messages, seq=seq, if_match=if_match))

    def close(self, final: Message | None = None) -> Appended:
        """Close the stream for good, with a last message or without (section 5.3).

        Repeating it is harmless.
        """
        return self._perform(self._commands.close(final))

    def next_producer_seq(self, producer: str, *, epoch: int = 0) -> int:
        """Which sequence number the server expects next of an `IdempotentProducer` with this id and epoch.

        0 when it has seen nothing of the epoch. Writes nothing. Raises `ProducerFenced` when there was a
        later epoch, `StreamClosed`.
        """
        return self._perform(self._commands.next_producer_seq(producer, epoch))

    def delete(self) -> None:
        """Delete the stream (section 5.4). Raises `StreamNotFound`, `StreamGone`."""
        self._perform(self._commands.delete())

    def fork(
        self,
        to: str,
        *,
        offset: str | None = None,
        sub_offset: int | None = None,
        ttl: int | timedelta | None = None,
        expires_at: str | datetime | None = None,
    ) -> DurableStream:
        """Create a stream at `to`, on this server, that shares this one's past (section 4.2).

        `to` is a URL, a path from the server's root (`"/v1/stream/chat/2"`), or a name without `/`, which
        is beside this stream: `"2"` for a fork of `.../v1/stream/chat/1` is `.../v1/stream/chat/2`. Raises
        ValueError for another name, or another server.

        It parts at `offset` (default: the tail) plus `sub_offset` messages (JSON) or bytes.
        """
        operation = self._commands.fork(
            to, offset=offset, sub_offset=sub_offset, ttl=ttl, expires_at=expires_at
        )
        target = self._perform(operation)
        return DurableStream(
            target.url,
            content_type=self.content_type,
            headers=target.headers,
            params=target.params,
            client=self._client,
            retry=self._commands.retry,
            timeout=self._timeout,
            batching=self._batcher is not None,
        )

    def stream(
        self,
        *,
        offset: str = "-1",
        live: Live = False,
        on_error: OnError | None = None,
        stall_timeout: float = 75.0,
    ) -> StreamResponse:
        """Read it; see `durastream.client.stream`."""
        target = self._commands.target
        reader = Reader(
            Target.of(target.url, target.headers, target.params),
            offset,
            live,
            self._commands.retry,
            stall_timeout=stall_timeout,
            on_error=on_error,
        )
        return StreamResponse(reader, Wire(self._client, self._timeout))

    def _perform(self, operation: Operation[T]) -> T:
        return perform(operation, Wire(self._client, self._timeout))

    def _send_batch(self, payloads: list[bytes], kind: str) -> Appended:
        return self._perform(self._commands.append_encoded(payloads, kind))

    def _for_producer(
        self, ledger: Ledger
    ) -> tuple[str, Delivery, httpx.Client | None, float | None]:
        """What an `IdempotentProducer` needs to send by itself."""
        kind = self._perform(self._commands.known_type())
        delivery = Delivery(ledger, self._commands.target, kind, self._commands.retry)
        return kind, delivery, self._client, self._timeout

    def __repr__(self) -> str:
        return f"<DurableStream {self.url}>"
