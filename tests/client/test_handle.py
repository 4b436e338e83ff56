"""Create, append, close, delete and fork (sections 4.2 and 5.1 to 5.5)."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import anyio
import pytest

from durastream import DurableStreamError
from durastream.client import (
    Conflict,
    Retry,
    SeqConflict,
    StreamClosed,
    StreamExists,
    StreamGone,
    StreamNotFound,
    TailMoved,
)

from .conftest import Room
from .faces import Face
from .proxy import Fault, Proxy

pytestmark = pytest.mark.anyio


class TestCreate:
    async def test_once_and_again(self, face: Face, room: Room) -> None:
        handle = face.handle(room.url)
        created = await handle.create("text/plain", body="first", ttl=60)
        assert (created.created, created.status, created.closed) == (True, 201, False)
        again = await handle.create("text/plain", ttl=timedelta(seconds=59.5))
        assert (again.created, again.status, again.offset) == (False, 200, created.offset)
        with pytest.raises(StreamExists) as raised:
            await handle.create("application/json")
        assert raised.value.status == 409
        assert room.content() == b"first"

    async def test_closed_with_its_whole_content(self, face: Face, room: Room) -> None:
        handle = face.handle(room.url)
        assert (await handle.create("application/json", body=[1, 2], closed=True)).closed
        assert json.loads(room.content()) == [[1, 2]], "a list is one message"
        assert (await handle.head()).closed

    async def test_expiry_in_either_form(self, face: Face, room: Room) -> None:
        handle = face.handle(room.url)
        at = datetime.now(UTC) + timedelta(hours=1)
        await handle.create(expires_at=at)
        found = await handle.connect()
        assert found.expires_at is not None
        told = datetime.fromisoformat(found.expires_at)
        assert abs(told - at) < timedelta(milliseconds=2)
        await handle.delete()
        await handle.create(ttl=7)
        assert (await handle.head()).ttl == 7
        for wrong in (
            {"ttl": -1},
            {"ttl": timedelta(days=-1)},
            {"ttl": 1, "expires_at": at},
            {"expires_at": datetime.fromisoformat("2030-01-01")},
        ):
            with pytest.raises(ValueError, match=r"ttl|time zone"):
                await handle.create(**wrong)


class TestAppend:
    async def test_the_content_type_is_learnt(self, face: Face, room: Room) -> None:
        room.create("application/json")
        handle = face.handle(room.url)
        end = await handle.append({"a": [1]})
        assert handle.content_type == "application/json"
        await handle.append_many([2, [3, 4], b'"raw"'])
        assert json.loads(room.content()) == [{"a": [1]}, 2, [3, 4], "raw"]
        async with face.read(room.url, offset=end.offset) as response:
            assert await response.json() == [2, [3, 4], "raw"]

    async def test_what_is_no_message_of_the_stream(self, face: Face, room: Room) -> None:
        room.create("text/plain")
        handle = face.handle(room.url)
        with pytest.raises(TypeError, match="bytes or str"):
            await handle.append({"a": 1})
        with pytest.raises(ValueError, match="nothing to append"):
            await handle.append_many([])
        as_json = face.handle(room.url, content_type="application/json")
        with pytest.raises((TypeError, ValueError), match="not a JSON value"):
            await as_json.append(object())
        with pytest.raises(Conflict):
            await as_json.append(1)

    async def test_seq_must_grow(self, face: Face, room: Room) -> None:
        room.create("text/plain")
        handle = face.handle(room.url)
        await handle.append("a", seq="002")
        with pytest.raises(SeqConflict):
            await handle.append("b", seq="002")
        await handle.append("c", seq="1")
        assert room.content() == b"ac"

    async def test_if_match_is_the_tail_or_nothing_happens(self, face: Face, room: Room) -> None:
        room.create("text/plain")
        handle = face.handle(room.url)
        first = await handle.append("a")
        second = await handle.append("b", if_match=first.offset)
        with pytest.raises(TailMoved) as raised:
            await handle.append("c", if_match=first.offset)
        assert raised.value.tail == second.offset
        assert room.content() == b"ab"

    async def test_with_batching_those_who_wait_travel_together(
        self, face: Face, room: Room, through: str, proxy: Proxy
    ) -> None:
        room.create("application/json")
        proxy.inject(Fault(delay=0.3), method="POST")
        handle = face.handle(through, content_type="application/json", batching=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(handle.append, 0)
            await anyio.sleep(0.1)
            for n in range(1, 30):
                tasks.start_soon(handle.append, n)
        assert sorted(json.loads(room.content())) == list(range(30))
        assert proxy.methods().count("POST") <= 3


class TestTheEnd:
    async def test_close_and_what_comes_after(self, face: Face, room: Room) -> None:
        room.create("text/plain", b"a")
        handle = face.handle(room.url)
        closed = await handle.close("z")
        assert closed.closed
        assert (await handle.close()).offset == closed.offset
        with pytest.raises(StreamClosed) as raised:
            await handle.append("late")
        assert raised.value.offset == closed.offset
        assert room.content() == b"az"

    async def test_delete(self, face: Face, room: Room) -> None:
        handle = face.handle(room.create())
        await handle.delete()
        for operation in (handle.delete, handle.head, handle.connect):
            with pytest.raises(StreamNotFound, match="not found"):
                await operation()

    async def test_a_fork_shares_the_past_and_goes_its_own_way(
        self, face: Face, room: Room
    ) -> None:
        room.create("application/json", b"[1,2,3]")
        handle = face.handle(room.url)
        await handle.head()
        fork = await handle.fork(room.url + "-fork", offset=room.append(b"[4,5]"), sub_offset=0)
        part = await handle.fork("/v1/stream/part" + room.url.rpartition("/")[2])
        await handle.append("source")
        await fork.append("fork")
        async with fork.stream() as response:
            assert await response.json() == [1, 2, 3, 4, 5, "fork"]
        assert (await part.head()).content_type == "application/json"
        await handle.delete()
        with pytest.raises(StreamGone, match="forks"):
            await handle.append(1)
        with pytest.raises(ValueError, match="sub_offset"):
            await handle.fork("/x", sub_offset=-1)
        for made in (fork, part):
            if face.name == "async":
                await made.aclose()


async def test_a_fork_is_named_by_a_url_a_path_or_a_name_beside_its_source(
    face: Face, room: Room
) -> None:
    room.create("text/plain", b"past")
    handle = face.handle(room.url)
    path = urlsplit(room.url).path
    name = path.rpartition("/")[2]
    for to, expected in (
        (f"{room.url}-1", f"{room.url}-1"),
        (f"{path}-2", f"{room.url}-2"),
        (f"{name}-3", f"{room.url}-3"),
        (f"{name}:4", f"{room.url}:4"),
    ):
        fork = await handle.fork(to)
        assert fork.url == expected
        if face.name == "async":
            await fork.aclose()
    for unclear in (f"chat/{name}", f"../{name}", f"./{name}", f"{name}/", "", ".", ".."):
        with pytest.raises(ValueError, match="whole path") as refused:
            await handle.fork(unclear)
        assert path in str(refused.value)


async def test_an_error_carries_its_facts_and_can_be_pickled(face: Face, room: Room) -> None:
    with pytest.raises(StreamNotFound) as raised:
        await face.handle(room.url, content_type="text/plain").append("x")
    error = raised.value
    assert isinstance(error, DurableStreamError)
    assert (error.status, error.url) == (404, room.url)
    assert error.problem["status"] == 404
    assert error.detail in str(error)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status, copy.problem) == (str(error), 404, error.problem)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"initial_delay": 0},
        {"max_delay": 0.01},
        {"multiplier": 0.5},
        {"deadline": 0},
    ],
)
def test_retry_is_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retry(**wrong)  # type: ignore[arg-type]
