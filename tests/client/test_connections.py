"""Connections: given back whatever happens, over a client of the caller's, and over HTTP/2."""

import contextlib
import json
import ssl
import threading
import time
from typing import Any

import anyio
import httpx
import pytest

from durastream.client import (
    AsyncDurableStream,
    AsyncIdempotentProducer,
    AsyncStreamResponse,
    DurableStream,
    astream,
    stream,
)
from durastream.client.core import beneath
from support.cells import ONLY_HTTP1, ONLY_HTTP2

from .conftest import Room
from .faces import QUICK
from .proxy import Fault, Proxy


@ONLY_HTTP1
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@pytest.mark.parametrize("live", ["long-poll", "sse", False])
def test_a_cancelled_reader_leaks_none(room: Room, backend: str, live: Any) -> None:  # noqa: ANN401
    url = room.create("application/json", b"1")

    async def main() -> None:
        limits = httpx.Limits(max_connections=2)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
            for _ in range(8):  # more than there may be at a time
                with anyio.move_on_after(0.1):
                    async with astream(url, live=live, client=client) as response:
                        async for _ in response.iter_json():
                            pass
                        await anyio.sleep(1)
            async with astream(url, client=client) as response:
                assert await response.json() == [1]

    with_deadline(main, backend)


@ONLY_HTTP1
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_cancelled_producer_leaks_none_and_tells(room: Room, backend: str) -> None:
    url = room.create()
    told: list[Any] = []

    async def main() -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
            handle = AsyncDurableStream(url, client=client)
            with anyio.move_on_after(0.2):
                async with AsyncIdempotentProducer(
                    handle, "p", linger=60, on_error=lambda _, lost: told.append(list(lost))
                ) as producer:
                    await producer.append(1)
                    await anyio.sleep(10)
            assert told == [[1]]
            await handle.append(2)

    with_deadline(main, backend)


def with_deadline(main: Any, backend: str, seconds: float = 20) -> None:  # noqa: ANN401
    async def bounded() -> None:
        with anyio.fail_after(seconds):
            await main()

    anyio.run(bounded, backend=backend)


@ONLY_HTTP1
def test_threads_give_theirs_back(room: Room) -> None:
    url = room.create("application/json", b"1")
    with httpx.Client(limits=httpx.Limits(max_connections=1), trust_env=False, timeout=5) as client:
        for live in ("sse", "long-poll", False, "sse"):
            with stream(url, live=live, client=client) as response:
                assert next(iter(response.iter_json())) == 1
        assert DurableStream(url, client=client).head().offset


@ONLY_HTTP1
@pytest.mark.parametrize("live", [False, "long-poll", "sse"])
def test_bodies_are_read_past_httpx_and_their_connection_goes_on(
    room: Room,
    live: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails when an httpx is installed whose inside we do not know: everything works then, but slowly."""
    url = room.create("application/json", b"1")
    room.append(b'"' + b"x" * 5_000_000 + b'"')
    room.close(b"3")
    found: list[beneath.Body | None] = []
    addresses = set()

    def watched(response: httpx.Response, most: int) -> beneath.Body | None:
        addresses.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        found.append(real(response, most))
        return found[-1]

    real = beneath.body
    monkeypatch.setattr(beneath, "body", watched)
    with httpx.Client(trust_env=False, timeout=5) as client:
        for _ in range(3):
            with stream(url, live=live, client=client) as response:
                assert [len(str(m)) for m in response.iter_json()] == [1, 5_000_000, 1]
    assert len(found) >= 6
    assert None not in found
    assert len(addresses) == 1


@ONLY_HTTP1
def test_messages_of_a_large_page_are_read_into_the_same_memory(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(range(500_000))
    url = room.create("application/json", json.dumps(numbers).encode())
    memories = set()
    real = beneath.Body.read_into

    def watch(self: beneath.Body, memory: memoryview) -> memoryview | None:
        memories.add(id(memory.obj))
        return real(self, memory)

    monkeypatch.setattr(beneath.Body, "read_into", watch)
    with httpx.Client(trust_env=False, timeout=5) as client, stream(url, client=client) as response:
        assert list(response.iter_json()) == numbers
    assert len(memories) == 1


def test_a_page_that_stops_in_the_middle_is_gone_on_with(room: Room, proxy: Proxy) -> None:
    """Read past httpx a timeout is one, too."""
    room.create("application/json", json.dumps(list(range(500_000))).encode())
    stalls = iter([Fault(stall=True, cut_after=1_000_000)])
    proxy.plan = lambda _: next(stalls, None)
    url = room.url.replace(room.server, proxy.url)
    with stream(url, timeout=0.2, retry=QUICK) as response:
        assert list(response.iter_json()) == list(range(500_000))


@ONLY_HTTP1
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_bodies_are_read_past_httpx_on_event_loops_too(
    room: Room, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = room.create("application/json", b"1", b'"' + b"x" * 5_000_000 + b'"')
    room.close()
    found: list[beneath.Body | None] = []
    real = beneath.body

    def watched(response: httpx.Response, most: int) -> beneath.Body | None:
        found.append(real(response, most))
        return found[-1]

    monkeypatch.setattr(beneath, "body", watched)

    async def main() -> None:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
            for _ in range(2):
                async with astream(url, client=client) as response:
                    assert [len(str(m)) async for m in response.iter_json()] == [1, 5_000_000]

    with_deadline(main, backend)
    assert len(found) >= 4
    assert None not in found


def test_a_transport_of_the_callers_is_read_the_usual_way() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"Stream-Next-Offset": "0_1", "Stream-Up-To-Date": "true"}
        return httpx.Response(200, headers=headers, content=b"abc", request=request)

    transport = httpx.MockTransport(answer)
    with httpx.Client(transport=transport) as client:
        assert stream("http://nowhere.example/s", client=client).read() == b"abc"

    async def main() -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            response = await astream("http://nowhere.example/s", client=client)
            assert await response.read() == b"abc"

    with_deadline(main, "trio")


@ONLY_HTTP2
def test_http2_serves_many_at_once_over_one_connection(
    room: Room, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(http2=True, verify=trusting, trust_env=False) as client:
            handle = AsyncDurableStream(room.url, client=client)
            await handle.create("application/json")
            got: list[list[int]] = []

            async def follow() -> None:
                async with handle.stream(live="sse") as response:
                    got.append([m async for m in response.iter_json()])

            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(follow)
                async with AsyncIdempotentProducer(handle, "p", max_batch_messages=5) as producer:
                    for n in range(100):
                        await producer.append(n)
                    await producer.close(100)
            assert got == [list(range(101))] * 5
            answer = await client.get(f"{room.server}/health")
            assert answer.http_version == "HTTP/2"

    for backend in ("trio", "asyncio"):
        with_deadline(main, backend)
        room.plain.delete(room.url)


@ONLY_HTTP2
def test_readers_that_leave_over_http2_leave_room_for_others(
    room: Room, trusting: ssl.SSLContext
) -> None:
    """More than one connection has room for (100)."""
    with httpx.Client(http2=True, verify=trusting, trust_env=False) as client:
        handle = DurableStream(room.url, client=client)
        handle.create("application/json")
        for n in range(120):
            with handle.stream(offset="now", live="sse") as response:
                handle.append(n)
                assert next(response.iter_json()) == n
        assert handle.append(2).status in (200, 204)


@ONLY_HTTP2
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_waits_cancelled_over_http2_leave_room_for_others(
    room: Room, trusting: ssl.SSLContext, backend: str
) -> None:
    async def main() -> None:
        async with httpx.AsyncClient(http2=True, verify=trusting, trust_env=False) as client:
            handle = AsyncDurableStream(room.url, client=client)
            await handle.create("application/json")

            async def follow(response: AsyncStreamResponse) -> None:
                async for _ in response.iter_json():
                    pass

            for _ in range(6):
                async with contextlib.AsyncExitStack() as stack:
                    opened = [
                        await stack.enter_async_context(handle.stream(offset="now", live="sse"))
                        for _ in range(20)
                    ]
                    with anyio.move_on_after(0.2):
                        async with anyio.create_task_group() as tasks:
                            for response in opened:
                                tasks.start_soon(follow, response)
            assert (await handle.append(2)).status in (200, 204)

    with_deadline(main, backend, 100)


@ONLY_HTTP1  # over HTTP/2 with the next bytes: docs/client.md
@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_cancel_wakes_a_thread_that_waits_for_an_answer_to_begin(
    room: Room,
    proxy: Proxy,
    through: str,
    live: Any,  # noqa: ANN401
) -> None:
    """Not only one that waits for more of an answer, and not only when the server says something."""
    room.create("application/json", b"1")
    proxy.inject(Fault(delay=60), live=live)
    response = stream(through, live=live)
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(response.iter_json()))
    reader.start()
    while not [seen for seen in proxy.seen if "live" in seen.params]:
        time.sleep(0.01)
    response.cancel()
    reader.join(5)
    assert not reader.is_alive()
    assert got == [1]
    assert response.offset == room.plain.head(room.url).headers["stream-next-offset"]


@ONLY_HTTP1
def test_leaving_a_reader_lets_others_use_its_connection(room: Room, proxy: Proxy) -> None:
    """The connection of a page that was read to its end is another's by then."""
    room.create("application/json", b"1")
    with httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        through = proxy.url + httpx.URL(room.url).path
        response = stream(through, client=client)
        assert next(response.iter_chunks()).data == b"[1]"
        proxy.inject(Fault(delay=0.5))
        told: list[Any] = []
        writer = threading.Thread(
            target=lambda: told.append(DurableStream(through, client=client).append(2))
        )
        writer.start()
        time.sleep(0.2)
        response.cancel()
        writer.join(10)
        assert len(told) == 1
