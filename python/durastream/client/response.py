"""`stream` and `StreamResponse`: reading a stream without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import httpx

    from durastream.client.options import Live, OnError, Retry, Values
    from durastream.client.results import Chunk


class StreamResponse:
    """A stream being read. Consume it once, in one way: chunks, bytes, text, JSON messages, or whole.

    A context manager: leaving it gives the connection back. Dropped connections are resumed from
    `offset`; nothing is left out or repeated.
    """

    @property
    def url(self) -> str:
        """The stream's URL, without password and query."""
        raise NotImplementedError

    @property
    def content_type(self) -> str:
        """The stream's content type."""
        raise NotImplementedError

    @property
    def offset(self) -> str:
        """Where to resume: behind the last page that was handed out to its end."""
        raise NotImplementedError

    @property
    def cursor(self) -> str | None:
        """The server's last cursor (section 10.1)."""
        raise NotImplementedError

    @property
    def up_to_date(self) -> bool:
        """Whether everything that was in the stream at the last answer has been handed out."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether the stream is closed and has been handed out to its end."""
        raise NotImplementedError

    @property
    def status(self) -> int:
        """The status code of the first answer."""
        raise NotImplementedError

    def iter_chunks(self) -> Iterator[Chunk]:
        """Pages with their positions. Save `chunk.offset` with what was made of the chunk: exactly once."""
        raise NotImplementedError

    def iter_bytes(self) -> Iterator[bytes]:
        """The stream's bytes, in pieces of no particular size."""
        raise NotImplementedError

    def iter_text(self) -> Iterator[str]:
        """The stream's bytes as UTF-8, never within a character."""
        raise NotImplementedError

    def iter_json(self) -> Iterator[Any]:
        """The messages of a JSON stream, one by one.

        `offset` moves on with the last message of each page: resuming in the middle of one repeats its
        beginning.
        """
        raise NotImplementedError

    def read(self) -> bytes:
        """Everything: up to the tail, or until the stream is closed when `live` was asked for."""
        raise NotImplementedError

    def text(self) -> str:
        """Everything, as UTF-8."""
        raise NotImplementedError

    def json(self) -> list[Any]:
        """Every message of a JSON stream."""
        raise NotImplementedError

    def cancel(self) -> None:
        """End the iteration, from any thread, and give the connection back. `offset` stays valid."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()


def stream(
    url: str,
    *,
    offset: str = "-1",
    live: Live = False,
    headers: Values | None = None,
    params: Values | None = None,
    on_error: OnError | None = None,
    client: httpx.Client | None = None,
    retry: Retry | None = None,
    timeout: float | None = 30.0,
    stall_timeout: float = 75.0,
) -> StreamResponse:
    """Read a stream (sections 5.6 to 5.8). The first answer is awaited: a missing stream raises here.

    `offset` is "-1" (the start), "now" (the tail as of this call) or a saved one. `live=True` follows
    the stream by server-sent events when it holds text or JSON, else by long-polls. `timeout` (seconds)
    is for connecting and for each wait for bytes; a live read that is silent for `stall_timeout` seconds
    is taken for dead and resumed. `on_error` is asked about an error before it is raised.

    Raises `StreamNotFound`, `StreamGone`, `BadRequest`, `Unauthorized`, `RateLimited`, `ServerError`,
    `ProtocolError`, `ConnectionFailed`.
    """
    raise NotImplementedError
