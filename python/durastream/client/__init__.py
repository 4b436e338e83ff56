"""A client of the Durable Streams protocol, for any server that speaks it; threads, trio and asyncio.

>>> from durastream.client import DurableStream, stream
>>> orders = DurableStream("http://127.0.0.1:4437/v1/stream/orders")  # doctest: +SKIP
>>> orders.create("application/json")  # doctest: +SKIP
>>> orders.append({"n": 1})  # doctest: +SKIP
>>> for order in stream(orders.url, live=True).iter_json():  # doctest: +SKIP
...     print(order)

The twins for event loops have the prefix `Async` (and `astream`), or no prefix in `durastream.client.aio`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durastream.client.errors import (
    AlreadyConsumed,
    BadRequest,
    ClientError,
    Conflict,
    ConnectionFailed,
    NotWritten,
    ProducerFenced,
    ProducerGap,
    ProtocolError,
    RateLimited,
    SeqConflict,
    ServerError,
    StreamClosed,
    StreamExists,
    StreamGone,
    StreamNotFound,
    TailMoved,
    Unauthorized,
)
from durastream.client.handle import DurableStream
from durastream.client.options import Again, Live, Retry
from durastream.client.producer import IdempotentProducer
from durastream.client.response import StreamResponse, stream
from durastream.client.results import Appended, Chunk, Created, StreamHead

if TYPE_CHECKING:
    from durastream.client.aio import (
        AsyncDurableStream,
        AsyncIdempotentProducer,
        AsyncStreamResponse,
        astream,
    )

__all__ = [
    "stream",
    "StreamResponse",
    "DurableStream",
    "IdempotentProducer",
    "astream",
    "AsyncStreamResponse",
    "AsyncDurableStream",
    "AsyncIdempotentProducer",
    "Live",
    "Retry",
    "Again",
    "Chunk",
    "Created",
    "Appended",
    "StreamHead",
    "ClientError",
    "StreamNotFound",
    "StreamExists",
    "Conflict",
    "SeqConflict",
    "ProducerFenced",
    "ProducerGap",
    "StreamClosed",
    "StreamGone",
    "TailMoved",
    "BadRequest",
    "Unauthorized",
    "RateLimited",
    "ServerError",
    "ProtocolError",
    "ConnectionFailed",
    "AlreadyConsumed",
    "NotWritten",
]

# Loaded when first used: programs without an event loop need not wait for what it takes.
_ON_LOOPS = ("astream", "AsyncStreamResponse", "AsyncDurableStream", "AsyncIdempotentProducer")


if not TYPE_CHECKING:  # a checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _ON_LOOPS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from durastream.client import aio  # noqa: PLC0415

        globals().update((each, getattr(aio, each)) for each in _ON_LOOPS)
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
