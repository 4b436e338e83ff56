"""`DurableStream`: one stream at a server, without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from types import TracebackType

    import httpx

    from durastream.client.options import Live, Message, OnError, Retry, Values
    from durastream.client.response import StreamResponse
    from durastream.client.results import Appended, Created, StreamHead


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
        timeout: float | None = 30.0,
        batching: bool = False,
    ) -> None:
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The stream's URL, without password and query."""
        raise NotImplementedError

    @property
    def content_type(self) -> str | None:
        """The stream's content type, once it is known."""
        raise NotImplementedError

    def create(
        self,
        content_type: str | None = None,
        *,
        ttl: int | None = None,
        expires_at: str | datetime | None = None,
        body: Message | None = None,
        closed: bool = False,
    ) -> Created:
        """Create the stream, or ensure that it exists with this configuration (section 5.1).

        `ttl` is in seconds. `body` is the first message; with `closed` also the last. Raises
        `StreamExists`.
        """
        raise NotImplementedError

    def connect(self) -> StreamHead:
        """Check that the stream exists, and learn its content type.

        Raises `StreamNotFound`, `StreamGone`.
        """
        raise NotImplementedError

    def head(self) -> StreamHead:
        """Tail, content type, expiry and closure (section 5.5)."""
        raise NotImplementedError

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
        raise NotImplementedError

    def append_many(
        self, messages: Iterable[Message], *, seq: str | None = None, if_match: str | None = None
    ) -> Appended:
        """Append several messages in one request: all of them or none."""
        raise NotImplementedError

    def close(self, final: Message | None = None) -> Appended:
        """Close the stream for good, with a last message or without (section 5.3).

        Repeating it is harmless.
        """
        raise NotImplementedError

    def delete(self) -> None:
        """Delete the stream (section 5.4). Raises `StreamNotFound`, `StreamGone`."""
        raise NotImplementedError

    def fork(
        self,
        to: str,
        *,
        offset: str | None = None,
        sub_offset: int | None = None,
        ttl: int | None = None,
        expires_at: str | datetime | None = None,
    ) -> DurableStream:
        """Create a stream at the URL or path `to` on this server that shares this one's past (section 4.2).

        It parts at `offset` (default: the tail) plus `sub_offset` messages (JSON) or bytes.
        """
        raise NotImplementedError

    def stream(
        self,
        *,
        offset: str = "-1",
        live: Live = False,
        on_error: OnError | None = None,
        stall_timeout: float = 75.0,
    ) -> StreamResponse:
        """Read it; see `durastream.client.stream`."""
        raise NotImplementedError

    def release(self) -> None:
        """Give back the connections, unless the client was passed in. The handle stays usable."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
