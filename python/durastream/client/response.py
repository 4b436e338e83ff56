"""`stream` and `StreamResponse`: reading a stream without an event loop."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Self

from durastream.client.core.reader import Reader
from durastream.client.core.target import Target
from durastream.client.core.view import View, text_decoder
from durastream.client.options import Retry
from durastream.client.wire import Reel, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import httpx

    from durastream.client.options import Live, OnError, Values
    from durastream.client.results import Chunk


class StreamResponse(View):
    """A stream being read. Consume it once, in one way: chunks, bytes, text, JSON messages, or whole.

    A context manager: leaving it gives the connection back. Dropped connections are resumed from `offset`;
    nothing is left out or repeated.
    """

    def __init__(self, reader: Reader, wire: Wire) -> None:
        super().__init__(reader)
        self._wire = wire
        self._reel = Reel(reader.run(), wire)
        self._advancing = threading.Lock()
        self._reel.advance()  # to the head of the first answer

    def _batches(self) -> Iterator[list[Chunk]]:
        try:
            while True:
                with self._advancing:
                    chunks = self._reel.advance()
                if chunks is None:
                    return
                yield chunks
        finally:
            self.cancel()

    def iter_chunks(self) -> Iterator[Chunk]:
        """Pages with their positions. Save `chunk.offset` with what was made of it: exactly once."""
        self._take("iter_chunks")
        return (chunk for batch in self._batches() for chunk in self._hand_chunks(batch))

    def iter_bytes(self) -> Iterator[bytes]:
        """The stream's bytes, in pieces of no particular size."""
        self._take("iter_bytes", piecewise=True)
        return (piece for batch in self._batches() for piece in self._hand_bytes(batch))

    def iter_text(self) -> Iterator[str]:
        """The stream's bytes as UTF-8, never within a character.

        `offset` stays before a page that ends within a character until the rest of it has come.
        """
        self._take("iter_text", piecewise=True)
        decoder = text_decoder()
        return (text for batch in self._batches() for text in self._hand_text(batch, decoder))

    def iter_json(self) -> Iterator[Any]:
        """The messages of a JSON stream, one by one.

        `offset` moves on with the last message of each page: resuming in the middle of one repeats its
        beginning. To save positions without repetition, use `iter_chunks`.
        """
        self._take_json("iter_json")
        return itertools.chain.from_iterable(self._lists())

    def _lists(self) -> Iterator[list[Any]]:
        for batch in self._batches():
            yield from self._hand_lists(batch)

    def read(self) -> bytes:
        """Everything: up to the tail, or, live, until the stream is closed. JSON comes as one array."""
        self._take("read")
        return self._whole([c.data for batch in self._batches() for c in self._hand_chunks(batch)])

    def text(self) -> str:
        """Everything, as UTF-8."""
        return self.read().decode()

    def json(self) -> list[Any]:
        """Every message of a JSON stream."""
        self._take_json("json")
        return list(itertools.chain.from_iterable(self._lists()))

    def cancel(self) -> None:
        """End the iteration, from any thread, and give the connection back. `offset` stays valid."""
        self._wire.cancel()
        # A thread that is waiting in a step has the lock, wakes up and ends by itself.
        if self._advancing.acquire(blocking=False):
            try:
                self._reel.end()
            finally:
                self._advancing.release()

    def __del__(self) -> None:
        if hasattr(self, "_advancing"):
            self.cancel()

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
    timeout: float | None = None,
    stall_timeout: float = 75.0,
) -> StreamResponse:
    """Read a stream (sections 5.6 to 5.8). The first answer is awaited: a missing stream raises here.

    `offset` is "-1" (the start), "now" (the tail as of this call) or a saved one. `live=True` follows
    the stream by server-sent events when it holds JSON, else by long-polls. `timeout` (seconds) is for
    connecting and for each wait for bytes; a live read that is silent for `stall_timeout` seconds is
    taken for dead and resumed. `on_error` is asked about an error before it is raised.

    Raises `StreamNotFound`, `StreamGone`, `BadRequest`, `Unauthorized`, `RateLimited`, `ServerError`,
    `ProtocolError`, `ConnectionFailed`.
    """
    target = Target.of(url, headers, params)
    reader = Reader(
        target, offset, live, retry or Retry(), stall_timeout=stall_timeout, on_error=on_error
    )
    return StreamResponse(reader, Wire(client, timeout))
