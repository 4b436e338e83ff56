"""The client for event loops: trio and asyncio, whichever is running.

>>> from durastream.client import aio
>>> async def follow(url: str) -> None:
...     async with aio.stream(url, live=True) as response:
...         async for message in response.iter_json():
...             print(message)
"""

from durastream.client.aio.handle import AsyncDurableStream
from durastream.client.aio.handle import AsyncDurableStream as DurableStream
from durastream.client.aio.producer import AsyncIdempotentProducer
from durastream.client.aio.producer import AsyncIdempotentProducer as IdempotentProducer
from durastream.client.aio.response import AsyncStreamResponse, astream
from durastream.client.aio.response import AsyncStreamResponse as StreamResponse
from durastream.client.aio.response import astream as stream

__all__ = [
    "stream",
    "StreamResponse",
    "DurableStream",
    "IdempotentProducer",
    "astream",
    "AsyncStreamResponse",
    "AsyncDurableStream",
    "AsyncIdempotentProducer",
]
