"""Reading a stream, in every way and mode (sections 5.6 to 5.8)."""

import asyncio
import gc
import json
from typing import Any

import anyio
import pytest

from durastream.client import (
    AlreadyConsumed,
    BadRequest,
    Live,
    ProtocolError,
    StreamGone,
    StreamNotFound,
)

from .conftest import Room
from .faces import Face
from .proxy import Proxy

pytestmark = pytest.mark.anyio
LIVE: list[Live] = ["long-poll", "sse", True]
EVERY_BYTE = bytes(range(256))


class TestCatchingUp:
    async def test_each_way_gives_the_same_stream(self, face: Face, room: Room) -> None:
        url = room.create("text/plain", "grün ".encode(), "und 蓝".encode())
        whole = "grün und 蓝"
        async with face.read(url) as response:
            assert (await response.read()).decode() == whole
        async with face.read(url) as response:
            assert await response.text() == whole
        async with face.read(url) as response:
            assert b"".join([p async for p in response.iter_bytes()]).decode() == whole
        async with face.read(url) as response:
            assert "".join([t async for t in response.iter_text()]) == whole
        async with face.read(url) as response:
            chunks = [c async for c in response.iter_chunks()]
            assert "".join(c.text() for c in chunks) == whole
            assert response.content_type == "text/plain"
            assert chunks[-1].up_to_date
            assert not chunks[-1].closed

    async def test_json_comes_message_by_message_chunk_by_chunk_or_whole(
        self, face: Face, room: Room
    ) -> None:
        url = room.create("application/json", b'[{"a":1},[2]]', b'"three"')
        expected = [{"a": 1}, [2], "three"]
        async with face.read(url) as response:
            assert await response.json() == expected
        async with face.read(url) as response:
            assert [m async for m in response.iter_json()] == expected
        async with face.read(url) as response:
            assert [m async for c in response.iter_chunks() for m in c.json()] == expected
        async with face.read(url) as response:
            assert json.loads(await response.read()) == expected

    async def test_resuming_from_an_offset_leaves_nothing_out_and_repeats_nothing(
        self, face: Face, room: Room
    ) -> None:
        url = room.create("application/json", b"1", b"2")
        async with face.read(url) as response:
            assert await response.json() == [1, 2]
            saved = response.offset
        room.append(b"[3,4]")
        async with face.read(url, offset=saved) as response:
            assert await response.json() == [3, 4]

    async def test_the_offset_moves_on_with_the_last_message_of_a_page(
        self, face: Face, room: Room
    ) -> None:
        url = room.create("application/json", b"[1,2,3]")
        async with face.read(url) as response:
            assert response.offset == "-1"
            messages = response.iter_json()
            seen = [(message, response.offset == "-1") async for message in messages]
        assert seen == [(1, True), (2, True), (3, False)]

    async def test_a_stream_of_many_pages_is_read_to_its_end(self, face: Face, room: Room) -> None:
        url = room.create("application/json")
        for start in range(0, 12, 2):
            room.append(json.dumps([str(start) * 700_000, str(start + 1) * 700_000]).encode())
        async with face.read(url) as response:
            pages = [c async for c in response.iter_chunks()]
        assert len(pages) > 1
        assert [p.up_to_date for p in pages] == [False] * (len(pages) - 1) + [True]
        assert [m[0] for p in pages for m in p.json()] == [*"0123456789", "1", "1"]

    async def test_the_end_of_bytes_has_the_offset_of_the_end(self, face: Face, room: Room) -> None:
        url = room.create("application/octet-stream", EVERY_BYTE * 4000)
        tail = room.append(b"last", "application/octet-stream")
        got = b""
        async with face.read(url) as response:
            async for piece in response.iter_bytes():
                got += piece
                if len(got) == 256 * 4000 + 4:
                    assert response.offset == tail
        assert got == EVERY_BYTE * 4000 + b"last"

    async def test_a_closed_stream_says_so(self, face: Face, room: Room) -> None:
        url = room.create("text/plain", b"x")
        room.close()
        async with face.read(url) as response:
            assert await response.text() == "x"
            assert response.closed
            assert response.up_to_date


class TestWhatCannotBeRead:
    async def test_a_missing_stream(self, face: Face, room: Room) -> None:
        with pytest.raises(StreamNotFound, match="not found") as raised:
            async with face.read(room.url):
                pass
        assert raised.value.status == 404
        assert raised.value.url == room.url
        assert raised.value.detail

    async def test_an_offset_that_is_none(self, face: Face, room: Room) -> None:
        with pytest.raises(BadRequest, match="offset"):
            async with face.read(room.create(), offset="yesterday"):
                pass

    async def test_an_offset_of_an_earlier_life_says_what_to_do(
        self, face: Face, room: Room
    ) -> None:
        url = room.create("application/json", b"1")
        async with face.read(url) as response:
            await response.read()
            saved = response.offset
        room.plain.delete(url)
        room.create("application/json", b"2")
        with pytest.raises(StreamGone, match="read again from") as raised:
            async with face.read(url, offset=saved):
                pass
        assert raised.value.status == 410
        async with face.read(url, offset=raised.value.earliest or "-1") as response:
            assert await response.json() == [2]

    async def test_a_response_twice(self, face: Face, room: Room) -> None:
        async with face.read(room.create("application/json", b"1")) as response:
            await response.json()
            with pytest.raises(AlreadyConsumed, match=r"json\(\) already"):
                await response.read()

    async def test_text_as_json(self, face: Face, room: Room) -> None:
        async with face.read(room.create("text/plain", b"1")) as response:
            with pytest.raises(ProtocolError, match="text/plain, not application/json"):
                await response.json()

    async def test_arguments_that_make_no_sense(self, face: Face, room: Room) -> None:
        options: list[dict[str, Any]] = [{"live": "yes"}, {"stall_timeout": 0.0}]
        for wrong in options:
            with pytest.raises(ValueError, match=next(iter(wrong))):
                async with face.read(room.url, **wrong):
                    pass
        with pytest.raises(ValueError, match="http:// or https://"):
            async with face.read("ftp://host/stream"):
                pass


@pytest.mark.parametrize("live", LIVE)
class TestFollowing:
    async def test_old_and_new_messages_come_once_until_the_stream_is_closed(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("application/json", b"[0,1]", b"2")
        got: list[int] = []
        async with face.read(url, live=live) as response:
            with anyio.fail_after(10):
                async for message in response.iter_json():
                    got.append(message)
                    if message in (2, 3, 4):
                        await anyio.to_thread.run_sync(room.append, str(message + 1).encode())
                    elif message == 5:
                        await anyio.to_thread.run_sync(room.close, b"6")
            assert response.closed
        assert got == [0, 1, 2, 3, 4, 5, 6]

    async def test_now_means_the_tail_when_the_response_was_there(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("application/json", b'"old"')
        async with face.read(url, offset="now", live=live) as response:
            room.append(b'"between"')
            room.close(b'"last"')
            assert await response.json() == ["between", "last"]

    async def test_every_byte_passes(self, face: Face, room: Room, live: Live) -> None:
        url = room.create("application/octet-stream", EVERY_BYTE)
        async with face.read(url, live=live) as response:
            room.append(EVERY_BYTE * 1000, "application/octet-stream")
            room.close()
            assert await response.read() == EVERY_BYTE * 1001

    async def test_spaces_and_line_ends_of_a_text_pass(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("text/plain")
        lines = "  indented\n\n\ttab: data: x\nevent: data\n蓝 "
        async with face.read(url, offset="now", live=live) as response:
            room.append(lines.encode(), "text/plain")
            room.close(content_type="text/plain")
            assert "".join([t async for t in response.iter_text()]) == lines

    async def test_a_closed_empty_stream_ends_at_once(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("application/json", **{"Stream-Closed": "true"})
        with anyio.fail_after(0.9):  # a long-poll is held for 1 s
            async with face.read(url, live=live) as response:
                assert await response.json() == []
                assert response.closed

    async def test_a_stream_deleted_meanwhile_is_told(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("application/json", b"1")
        with anyio.fail_after(10):
            async with face.read(url, live=live) as response:
                messages = response.iter_json()
                assert await anext(messages) == 1
                await anyio.to_thread.run_sync(room.plain.delete, url)
                with pytest.raises(StreamNotFound):
                    await anext(messages)

    async def test_cancel_ends_the_iteration_where_it_is(
        self, face: Face, room: Room, live: Live
    ) -> None:
        url = room.create("application/json", b"1", b"2")
        async with face.read(url, live=live) as response:
            got = []
            with anyio.fail_after(10):
                async for message in response.iter_json():
                    got.append(message)
                    if message == 2:
                        await response.cancel()
            assert got == [1, 2]
            saved = response.offset
        room.append(b"3")
        async with face.read(url, offset=saved) as response:
            assert await response.json() == [3]


class TestWaiting:
    """What only the twins for event loops have: a wait that is cancelled."""

    @pytest.fixture
    def twin(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.mark.parametrize("twin", ["trio", "asyncio"], indirect=True)
    @pytest.mark.parametrize("live", LIVE)
    async def test_a_cancelled_wait_loses_nothing(self, face: Face, room: Room, live: Live) -> None:
        url = room.create()
        got: list[int] = []
        patience = 10
        async with face.read(url, live=live) as response:
            messages = response.iter_json()
            while got != [0, 1, 2] and patience:
                with anyio.move_on_after(0.2) as waited:
                    got.append(await anext(messages))
                if waited.cancelled_caught:
                    room.append(str(len(got)).encode())
                    patience -= 1
        assert got == [0, 1, 2]

    @pytest.mark.parametrize("twin", ["asyncio"], indirect=True)
    async def test_a_wait_can_be_a_task_and_is_cancelled_without_a_loss(
        self, face: Face, room: Room
    ) -> None:
        """Before it begins, too, when its message is there already."""
        async with face.read(room.create("application/json", b"[0,1,2,3,4,5]")) as response:
            messages = response.iter_json()
            got = [await anext(messages)]
            for _ in range(4):
                given_up = asyncio.create_task(anext(messages))
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                got.append(await asyncio.wait_for(anext(messages), 5))
            got.append(await asyncio.create_task(anext(messages)))
            with pytest.raises(StopAsyncIteration):
                await anext(messages)
        assert got == [0, 1, 2, 3, 4, 5]

    @pytest.mark.parametrize("twin", ["trio", "asyncio"], indirect=True)
    async def test_what_a_reader_handed_out_is_let_go_of(self, face: Face, room: Room) -> None:
        url = room.create("application/json", json.dumps([["x"] * 3] * 2000).encode())
        gc.collect()
        lists = sum(isinstance(each, list) for each in gc.get_objects())
        for _ in range(3):
            async with face.read(url) as response:
                seen = 0
                async for message in response.iter_json():
                    assert message == ["x"] * 3
                    seen += 1
                    if seen == 1500:
                        break
        del response, message
        gc.collect()
        assert sum(isinstance(each, list) for each in gc.get_objects()) < lists + 200


class TestCursor:
    async def test_it_is_echoed_and_parameters_are_in_order(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json", b"1")
        async with face.read(through + "?zone=b&area=a", live="long-poll") as response:
            async for message in response.iter_json():
                if message == 1:
                    room.append(b"2")
                elif message == 2:
                    room.close(b"3")
        polls = [s for s in proxy.seen if s.params.get("live") == "long-poll"]
        assert "cursor" not in polls[0].params
        assert polls[1].params["cursor"].isdigit()
        for seen in proxy.seen:
            assert list(seen.params) == sorted(seen.params)
            assert (seen.params["area"], seen.params["zone"]) == ("a", "b")
