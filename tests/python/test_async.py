"""`AsyncLogEngine` on trio and asyncio."""

import asyncio
import gc
import os
import threading
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import trio

from durastream import AsyncLogEngine, LogEngine, Offset, errors
from durastream._loop import LoopQueue
from durastream._native import CompletionQueue

pytestmark = pytest.mark.anyio


@pytest.fixture
async def alog(tmp_path: Path) -> AsyncIterator[AsyncLogEngine]:
    async with AsyncLogEngine(tmp_path / "log") as engine:
        yield engine


async def test_the_twin_does_what_log_engine_does(alog: AsyncLogEngine, tmp_path: Path) -> None:
    created = await alog.create("s", content_type="application/json", body=b"[1]")
    assert created.created
    result = await alog.append("s", b"2", producer=("p", 0, 0))
    assert (await alog.append("s", b"2", producer=("p", 0, 0))).duplicate
    results = await alog.append_many([("s", b"3"), ("s", b"4")])
    assert results[0].offset == result.next_offset
    assert (await alog.read("s")).json() == [1, 2, 3, 4]
    assert (await alog.read("s", result.next_offset, max_bytes=1)).json() == [3]
    assert (await alog.head("s")).tail == results[1].next_offset
    assert await alog.exists("s")
    naive = datetime.now()  # noqa: DTZ005
    for creation in (alog.create("t", expires_at=naive), alog.fork("s", "t", expires_at=naive)):
        with pytest.raises(ValueError, match="expires_at"):
            await creation
    assert not await alog.exists("t")
    assert (await alog.fork("s", "f", created.info.floor)).created
    assert (await alog.fork("s", "g", result.offset, 1)).created
    assert [info.path async for info in alog.list()] == ["f", "g", "s"]
    assert [info.path async for info in alog.list(limit=2)] == ["f", "g"]
    assert [info.path for info in (await alog.list_page(cursor="f")).streams] == ["g", "s"]
    assert await alog.trim("s", result.offset) == result.offset
    assert (await alog.close_stream("s")).closed
    await alog.delete("f")
    assert alog.stats().streams == 2
    assert await alog.checkpoint() > 0
    assert not alog.closed
    assert alog.path == str(tmp_path / "log")
    assert repr(alog) == f"<AsyncLogEngine '{alog.path}', open>"


async def test_refusals_are_the_same_exceptions(alog: AsyncLogEngine) -> None:
    with pytest.raises(errors.StreamNotFound):
        await alog.append("s", b"x")
    with pytest.raises(errors.StreamNotFound):
        await alog.read("s")
    with pytest.raises(errors.StreamNotFound):
        await anext(alog.follow("s"))
    with pytest.raises(errors.InvalidPath):
        await alog.create("..")
    await alog.create("s")
    with pytest.raises(errors.StreamNotFound) as caught:
        await alog.append_many([("s", b"1"), ("t", b"2")])
    assert caught.value.index == 1
    assert len(caught.value.completed) == 1


async def test_a_listing_may_be_left_unfinished(alog: AsyncLogEngine) -> None:
    for path in ("a", "b"):
        await alog.create(path)
    async for info in alog.list():
        assert info.path == "a"
        break
    gc.collect()


async def test_use_before_opening_and_after_closing_is_refused(tmp_path: Path) -> None:
    log = AsyncLogEngine(tmp_path)
    assert log.closed
    with pytest.raises(errors.EngineClosed, match="not open"):
        await log.head("s")
    await log.open()
    await log.create("s")
    await log.close()
    await log.close()
    with pytest.raises(errors.EngineClosed):
        await log.head("s")


async def test_wrap_shares_a_log_and_leaves_it_open(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as engine:
        async with AsyncLogEngine.wrap(engine) as log:
            await log.create("s", body=b"abc")
        assert bytes(engine.read("s")) == b"abc"


async def test_cold_data_is_read_off_the_loop(tmp_path: Path) -> None:
    async with AsyncLogEngine(tmp_path) as log:
        await log.create("s", body=b"abc")
    async with AsyncLogEngine(tmp_path, hot_bytes=0) as log:
        reader = log.engine._native.reader("s").wait()
        assert not reader.is_hot(Offset.START, 100)
        assert bytes(await log.read("s")) == b"abc"


async def test_follow_gives_what_is_there_then_what_comes(alog: AsyncLogEngine) -> None:
    await alog.create("s", body=b"0")
    got: list[bytes] = []

    async def follow() -> None:
        got.extend([bytes(page) async for page in alog.follow("s", timeout=20)])

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            for n in range(1, 10):
                await alog.append("s", b"%d" % n)
                await anyio.sleep(0.002)
            await alog.close_stream("s", b"!")
    assert b"".join(got) == b"0123456789!"


async def test_follow_ends_when_nothing_comes_and_can_go_on(alog: AsyncLogEngine) -> None:
    await alog.create("s", body=b"abc")
    follower = alog.follow("s", timeout=0.1)
    begun = time.monotonic()
    assert [bytes(page) async for page in follower] == [b"abc"]
    assert 0.09 < time.monotonic() - begun < 5
    tail = (await alog.append("s", b"def")).next_offset
    assert [bytes(page) async for page in follower] == [b"def"]
    assert follower.offset == tail
    assert alog.stats().watches == 0


async def test_follow_ends_with_a_page_that_says_closed(alog: AsyncLogEngine) -> None:
    await alog.create("s", closed=True)
    assert [page.closed async for page in alog.follow("s")] == [True]


async def test_a_cancelled_follower_leaves_no_watch(alog: AsyncLogEngine) -> None:
    await alog.create("s")
    for _ in range(20):
        with anyio.move_on_after(0.01) as scope:
            await anext(alog.follow("s"))
        assert scope.cancelled_caught
    assert alog.stats().watches == 0
    await alog.append("s", b"abc")
    assert bytes(await anext(alog.follow("s"))) == b"abc"


async def test_a_wake_after_cancellation_finds_nobody() -> None:
    """The engine's wake is already in the queue when its wait is cancelled."""
    queue = LoopQueue.current()
    with LogEngine(":memory:") as log:
        log.create("s")
        registered: list[tuple[CompletionQueue, int]] = []
        for _ in range(50):
            watch = log._native.reader("s").wait().watch(log.head("s").tail)

            def register(completions: CompletionQueue, token: int) -> None:
                registered.append((completions, token))
                watch.register(completions, token)  # noqa: B023  (called before the next one is made)

            async with anyio.create_task_group() as group:
                group.start_soon(queue.wait, register, None)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                log.append("s", b"x")
                group.cancel_scope.cancel()
            woken = await queue.wait(watch.register, 5)
            assert woken is None
        tokens = [token for _, token in registered]
        assert len(set(tokens)) == len(tokens) == 50


async def test_wait_times_out(alog: AsyncLogEngine) -> None:
    await alog.create("s")
    reader = alog.engine._native.reader("s").wait()
    watch = reader.watch((await alog.head("s")).tail)
    assert await LoopQueue.current().wait(watch.register, 0.01) is LoopQueue.TIMED_OUT
    watch.close()


async def test_a_registration_that_fails_leaves_nothing_behind() -> None:
    queue = LoopQueue.current()

    def refuse(_queue: CompletionQueue, _token: int) -> None:
        raise RuntimeError("refused")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="refused"):
            await queue.wait(refuse, 1)
    assert queue._waiting == {}  # type: ignore[attr-defined]
    assert LoopQueue.current() is queue


async def test_waiting_tasks_do_not_hold_up_the_loop(alog: AsyncLogEngine) -> None:
    for n in range(100):
        await alog.create(f"s{n}")
    done: list[int] = []

    async def append(n: int) -> None:
        for _ in range(10):
            await alog.append(f"s{n}", b"x" * 100)
        done.append(n)

    before = alog.stats()
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            for n in range(100):
                group.start_soon(append, n)
    assert sorted(done) == list(range(100))
    after = alog.stats()
    assert after.appends - before.appends == 1000
    assert after.syncs - before.syncs < 500


async def test_closing_the_log_ends_a_waiting_follower(tmp_path: Path) -> None:
    log = await AsyncLogEngine(tmp_path).open()
    await log.create("s")
    caught: list[BaseException] = []

    async def follow() -> None:
        try:
            await anext(log.follow("s"))
        except errors.EngineClosed as error:
            caught.append(error)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await anyio.sleep(0.05)
            await log.close()
    assert len(caught) == 1


async def test_closing_completes_under_cancellation(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with AsyncLogEngine(tmp_path) as log:
            await log.create("s", body=b"abc")
            scope.cancel()
            await anyio.sleep(1)
    assert log.closed
    with LogEngine(tmp_path) as again:
        assert bytes(again.read("s")) == b"abc"


@pytest.mark.parametrize("turns", range(4))
def test_asyncios_own_cancellation_leaves_no_log_open(tmp_path: Path, turns: int) -> None:
    async def cancelled(task: asyncio.Task[object]) -> None:
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    async def main() -> None:
        log = AsyncLogEngine(tmp_path / "log")
        opening = asyncio.create_task(log.open())
        await cancelled(opening)
        assert log.closed == opening.cancelled()
        async with AsyncLogEngine(tmp_path / "other") as other:
            await cancelled(asyncio.create_task(other.close()))
            async with AsyncLogEngine(tmp_path / "other") as again:
                await again.create("s")
        await log.close()
        LogEngine(tmp_path / "log").close()

    asyncio.run(main())


async def test_opening_twice_at_once_opens_once(tmp_path: Path) -> None:
    log = AsyncLogEngine(tmp_path / "log")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.open)
        tasks.start_soon(log.open)
    engine = log.engine
    await log.open()
    assert log.engine is engine
    await log.close()


@pytest.mark.parametrize("backends", [["trio"] * 4, ["asyncio"] * 4, ["trio", "asyncio"] * 2])
def test_several_loops_in_several_threads_share_a_log(tmp_path: Path, backends: list[str]) -> None:
    results: dict[int, bytes] = {}
    with LogEngine(tmp_path) as engine:
        engine.create("s")

        async def work(number: int) -> None:
            log = AsyncLogEngine.wrap(engine)
            got = b""

            async def follow() -> None:
                nonlocal got
                async for page in log.follow("s", timeout=20):
                    got += bytes(page)

            async with anyio.create_task_group() as group:
                group.start_soon(follow)
                for n in range(25):
                    await log.append("s", b"%d:%d," % (number, n))
                await log.append("done", b"x")
                ready = log.follow("done", timeout=20)
                while (await anext(ready)).next_offset.position < len(backends):
                    pass
                await log.close_stream("s")
            results[number] = got

        engine.create("done")
        threads = [
            threading.Thread(target=lambda b=b, n=n: anyio.run(work, n, backend=b))
            for n, b in enumerate(backends)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        everything = bytes(engine.read("s"))
    assert everything.count(b",") == 25 * len(backends)
    assert results == dict.fromkeys(range(len(backends)), everything)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_loops_queue_ends_with_the_loop(backend: str) -> None:
    """Descriptors do not grow with the loops that ran."""

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    with LogEngine(":memory:") as engine:
        engine.create("s")

        async def work() -> None:
            await AsyncLogEngine.wrap(engine).append("s", b"x")
            await anext(AsyncLogEngine.wrap(engine).follow("s"))
            with anyio.move_on_after(0.01):
                await anext(AsyncLogEngine.wrap(engine).follow("s", "now"))

        anyio.run(work, backend=backend)
        before = descriptors()
        for _ in range(10):
            anyio.run(work, backend=backend)
        assert descriptors() <= before


def test_plain_trio_and_plain_asyncio_will_do(tmp_path: Path) -> None:
    async def work() -> bytes:
        async with AsyncLogEngine(tmp_path) as log:
            if not await log.exists("s"):
                await log.create("s")
            await log.append("s", b"x")
            return bytes(await log.read("s"))

    assert trio.run(work) == b"x"
    assert asyncio.run(work()) == b"xx"


def test_outside_of_a_loop_there_is_no_queue() -> None:
    with pytest.raises(RuntimeError):
        LoopQueue.current()


async def test_the_loop_turns_while_a_large_append_is_made_durable(alog: AsyncLogEngine) -> None:
    await alog.create("s")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.sleep(0.001)

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await anyio.lowlevel.checkpoint()
        for _ in range(5):
            await alog.append("s", b"x" * (16 << 20))
        group.cancel_scope.cancel()
    assert turns > 5


async def test_a_large_body_is_refused_like_a_small_one(alog: AsyncLogEngine) -> None:
    await alog.create("s", content_type="application/json")
    with pytest.raises(errors.InvalidPayload) as caught:
        await alog.append("s", b"[" + b"1," * 100_000 + b"]")
    assert caught.value.at == 200_001
    with pytest.raises(TypeError):
        await alog.append("s", "text")  # type: ignore[arg-type]
