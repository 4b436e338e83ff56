"""Event loops: one handle in several, one after the other and at once, of both kinds."""

import threading

import anyio
import pytest

from durastream.client import AsyncDurableStream, AsyncIdempotentProducer

from .conftest import Room

LOOPS = ["trio", "asyncio", "trio", "asyncio", "asyncio"]


async def use(handle: AsyncDurableStream, name: str, count: int) -> None:
    async with handle:
        with anyio.fail_after(20):
            async with AsyncIdempotentProducer(handle, name) as producer:
                for n in range(count):
                    await producer.append([name, n])
            async with handle.stream(live=True) as response:
                seen = 0
                async for who, _ in response.iter_json():
                    seen += who == name
                    if seen == count:
                        break


def test_a_handle_serves_one_loop_after_the_other(room: Room) -> None:
    handle = AsyncDurableStream(room.create(), content_type="application/json")
    for number, backend in enumerate(LOOPS):
        anyio.run(use, handle, f"p{number}", 5, backend=backend)
    assert len(room.plain.get(room.url).json()) == 5 * len(LOOPS)


def test_a_handle_serves_several_loops_at_once(room: Room) -> None:
    handle = AsyncDurableStream(room.create(), content_type="application/json")
    failures: list[BaseException] = []

    def run(number: int, backend: str) -> None:
        try:
            anyio.run(use, handle, f"p{number}", 20, backend=backend)
        except BaseException as error:  # noqa: BLE001  (the test tells)
            failures.append(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(LOOPS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    messages = room.plain.get(room.url).json()
    for number in range(len(LOOPS)):
        mine = [n for who, n in messages if who == f"p{number}"]
        assert mine == list(range(20)), "each producer's own, once and in order"


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_handle_that_was_closed_can_be_used_again(room: Room, backend: str) -> None:
    async def main() -> None:
        handle = AsyncDurableStream(room.create(), content_type="application/json")
        for n in range(3):
            async with handle:
                await handle.append(n)

    anyio.run(main, backend=backend)
    assert room.content() == b"[0,1,2]"


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_response_that_nobody_left_is_named(room: Room, backend: str) -> None:
    async def main() -> None:
        async with AsyncDurableStream(room.create()) as handle:
            held = [await handle.stream(live="long-poll")]
            with pytest.warns(ResourceWarning, match=f"{room.url}.* was neither read to its end"):
                held.clear()

    anyio.run(main, backend=backend)
