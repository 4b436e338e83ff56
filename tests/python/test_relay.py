"""Lists handed out item by item to `async for`: what the client's readers are made of."""

import asyncio
import gc
import weakref
from collections.abc import Coroutine, Iterable
from typing import Any

import anyio.lowlevel
import pytest

from durastream._native import Ready, Relay

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def relay(lists: Iterable[list[Any]]) -> Relay:
    left = iter(lists)

    async def refill(relay: Relay) -> Any:  # noqa: ANN401
        await anyio.lowlevel.checkpoint()
        for items in left:
            relay.fill(items)
            return await anext(relay)
        raise StopAsyncIteration

    return Relay(refill)


async def test_every_item_of_every_list_comes_once_and_in_order() -> None:
    lists: list[list[Any]] = [[1], ["two", (3,), None], [StopIteration(4)], [[5]]]
    expected = [item for items in lists for item in items]
    assert [item async for item in relay(lists)] == expected


async def test_an_empty_list_is_refilled() -> None:
    assert [item async for item in relay([[], [1], [], [2]])] == [1, 2]


async def test_a_refill_that_fails_is_told() -> None:
    async def refill(_: Relay) -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await anext(Relay(refill))


async def test_an_item_is_taken_when_it_is_awaited_not_before() -> None:
    items = relay([[1, 2, 3]])
    assert await anext(items) == 1
    waits: list[Coroutine[Any, Any, Any]] = [items.__anext__() for _ in range(3)]
    waits.pop().close()
    assert [await wait for wait in waits] == [2, 3]
    with pytest.raises(StopAsyncIteration):
        await anext(items)


async def test_a_wait_whose_item_went_to_another_is_told() -> None:
    items = relay([[1, 2]])
    await anext(items)
    first, second = items.__anext__(), items.__anext__()
    assert await first == 2
    with pytest.raises(RuntimeError, match="one message at a time"):
        await second


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_waits_pass_where_only_coroutines_may() -> None:
    items = relay([[1, (2,), 3]])
    await anext(items)
    assert await asyncio.create_task(items.__anext__()) == (2,)
    assert await asyncio.wait_for(items.__anext__(), 5) == 3


def test_driven_by_hand_it_is_a_coroutine() -> None:
    ready = Ready(["a", ("b",)])
    assert ready.__await__() is ready
    with pytest.raises(StopIteration) as told:
        ready.send(None)
    assert told.value.value == "a"
    with pytest.raises(StopIteration) as told:
        next(iter(ready))
    assert told.value.value == ("b",)
    with pytest.raises(KeyError):
        ready.throw(KeyError("thrown"))
    with pytest.raises(RuntimeError):
        ready.send(None)


def test_cycles_through_a_relay_are_collected() -> None:
    class Held:
        pass

    def tie(held: Held) -> weakref.ref[Held]:
        async def refill(_: Relay) -> None:
            raise AssertionError(held)

        made = Relay(refill)
        made.fill([held])
        held.relay = made  # type: ignore[attr-defined]
        return weakref.ref(held)

    seen = tie(Held())
    gc.collect()
    assert seen() is None


async def test_items_and_lists_are_let_go_of() -> None:
    class Item:
        pass

    def lists() -> Iterable[list[Item]]:
        for _ in range(3):
            made = Item()
            seen.append(weakref.ref(made))
            yield [made]

    seen: list[weakref.ref[Item]] = []
    async for item in relay(lists()):
        assert item is seen[-1]()
        del item
        assert [ref() for ref in seen[:-1]] == [None] * (len(seen) - 1)
    gc.collect()
    assert [ref() for ref in seen] == [None] * 3
