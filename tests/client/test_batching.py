"""`batching=True` on event loops: appends that travel together share an answer, and nobody's cancellation."""

import json

import anyio
import pytest

from durastream.client import AsyncDurableStream

from .conftest import Room
from .proxy import Fault, Proxy

JSON = "application/json"


async def within(url: str, proxy: Proxy | None) -> None:
    async with AsyncDurableStream(url, content_type=JSON, batching=True) as handle:
        with anyio.fail_after(20):
            await (burst(handle) if proxy is None else cancelled_sender(handle, proxy))


async def burst(handle: AsyncDurableStream) -> None:
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for n in range(3):
                tasks.start_soon(handle.append, n)
        await handle.append("later")


async def cancelled_sender(handle: AsyncDurableStream, proxy: Proxy) -> None:
    proxy.inject(Fault(delay=0.4), times=2, method="POST")
    scope = anyio.CancelScope()
    ends: list[str] = []

    async def sender() -> None:
        with scope:
            await handle.append("sender")
            ends.append("not cancelled")

    async def other() -> None:
        ends.append((await handle.append("other")).offset)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handle.append, "first")
        await anyio.sleep(0.1)
        tasks.start_soon(sender)
        await anyio.sleep(0.05)
        tasks.start_soon(other)
        await anyio.sleep(0.45)
        scope.cancel()  # while the batch of both is on its way
    assert len(ends) == 1
    assert scope.cancelled_caught
    await handle.append("later")


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_appends_go_on_after_a_burst(room: Room, backend: str) -> None:
    anyio.run(within, room.create(), None, backend=backend)
    assert len(json.loads(room.content())) == 12


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_cancelled_sender_leaves_the_others_their_answer(
    room: Room, proxy: Proxy, through: str, backend: str
) -> None:
    room.create()
    anyio.run(within, through, proxy, backend=backend)
    assert json.loads(room.content()) == ["first", "sender", "other", "later"]
