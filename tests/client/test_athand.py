"""What has come already is read past the event loop; the loop still has its say."""

import json
from typing import Any

import anyio
import httpx
import pytest

from durastream.client import astream
from durastream.client.core import athand, beneath
from support.cells import ONLY_HTTP1

from .conftest import Room

pytestmark = pytest.mark.parametrize("backend", ["trio", "asyncio"])
LARGE = b"x" * 4_000_000


def watched(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """How much each call of a method of `AtHand` gave."""
    found: list[int] = []
    real = getattr(athand.AtHand, name)

    def watch(self: athand.AtHand, most: int) -> bytes:
        data: bytes = real(self, most)
        found.append(len(data))
        return data

    monkeypatch.setattr(athand.AtHand, name, watch)
    return found


@ONLY_HTTP1
def test_a_large_page_is_read_past_the_loop(
    room: Room, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when an anyio, trio or httpcore is installed whose inside we do not know."""
    url = room.create("application/octet-stream", LARGE)
    past_the_loop = watched(monkeypatch, "read")

    async def main() -> None:
        async with astream(url) as response:
            assert await response.read() == LARGE

    anyio.run(main, backend=backend)
    assert sum(past_the_loop) > 0
    assert max(past_the_loop) <= athand.READ_SIZE


@ONLY_HTTP1
def test_messages_of_a_large_page_are_read_into_the_same_memory(
    room: Room, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(range(500_000))
    url = room.create("application/json", json.dumps(numbers).encode())
    counts: list[int] = []
    real = athand.AtHand.read_into

    def watch(self: athand.AtHand, memory: memoryview) -> int:
        counts.append(real(self, memory))
        return counts[-1]

    monkeypatch.setattr(athand.AtHand, "read_into", watch)

    async def main() -> None:
        async with astream(url) as response:
            assert [n async for n in response.iter_json()] == numbers

    anyio.run(main, backend=backend)
    assert sum(counts) > 0
    assert max(counts) <= beneath.ROOM


def test_others_have_their_turn_while_a_large_page_is_read(
    room: Room, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = room.create("application/octet-stream", LARGE)
    monkeypatch.setattr(athand, "READ_SIZE", 4096)
    monkeypatch.setattr(athand, "TURN", 16384)
    monkeypatch.setattr(beneath, "LOOP_READ_SIZE", 4096)
    turns, most_between, since = 0, 0, 0

    async def other() -> None:
        nonlocal turns, since
        while True:
            turns, since = turns + 1, 0
            await anyio.lowlevel.checkpoint()

    async def main() -> None:
        nonlocal most_between, since
        async with anyio.create_task_group() as tasks, astream(url) as response:
            tasks.start_soon(other)
            async for piece in response.iter_bytes():
                since += len(piece)
                most_between = max(most_between, since)
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert turns > 1
    with_the_head = 64 << 10
    assert most_between <= with_the_head + 4 * 16384


def test_what_the_loop_has_read_comes_first(
    room: Room, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small reads leave a part of what the loop has read in its queue."""
    numbered = b"".join(b"%07d\n" % n for n in range(400_000))
    url = room.create("application/octet-stream", numbered)
    monkeypatch.setattr(beneath, "LOOP_READ_SIZE", 1000)
    monkeypatch.setattr(athand, "TURN", 3000)

    async def main() -> None:
        async with astream(url) as response:
            assert await response.read() == numbered

    anyio.run(main, backend=backend)


@ONLY_HTTP1
def test_a_connection_that_was_closed_has_nothing(room: Room, backend: str) -> None:
    url = room.create("application/octet-stream", LARGE)

    async def main() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            async with client.stream("GET", url) as response:
                stream: Any = response.extensions["network_stream"]
                found = athand.at_hand(stream)
                assert found is not None
            assert found.read(10) == b""
            assert athand.at_hand(stream) is None

    anyio.run(main, backend=backend)
