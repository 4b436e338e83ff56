"""The completion queue: every token once, the descriptor readable exactly while there are some."""

import os
import select
from pathlib import Path

import pytest

from durastream import EngineClosed, LogEngine
from durastream._native import CompletionQueue


def readable(queue: CompletionQueue, timeout: float = 0) -> bool:
    return bool(select.select([queue.fileno()], [], [], timeout)[0])


def test_a_new_queue_is_empty() -> None:
    queue = CompletionQueue()
    assert not readable(queue)
    assert queue.drain() == []
    queue.close()


def test_a_durable_append_gives_its_token_once(log: LogEngine) -> None:
    log.create("s")
    queue = CompletionQueue()
    pending = log._native.append("s", b"abc", None, None, False, None, None)
    pending.register(queue, 42)
    assert readable(queue, 10)
    assert queue.drain() == [(42, None)]
    assert pending.ready
    assert pending.result().next_offset.position == 3
    assert not readable(queue)
    assert queue.drain() == []
    queue.close()


def test_what_is_durable_already_wakes_at_once(log: LogEngine) -> None:
    log.create("s")
    queue = CompletionQueue()
    pending = log._native.append("s", b"abc", None, None, False, None, None)
    pending.wait()
    pending.register(queue, 1)
    assert readable(queue, 10)
    assert queue.drain() == [(1, None)]
    queue.close()


def test_many_tokens_come_in_one_drain(log: LogEngine) -> None:
    log.create("s")
    queue = CompletionQueue()
    pending = [log._native.append("s", b"abc", None, None, False, None, None) for _ in range(100)]
    for token, each in enumerate(pending):
        each.register(queue, token)
    pending[-1].wait()
    tokens: list[int] = []
    while len(tokens) < 100 and readable(queue, 10):
        tokens += [token for token, failure in queue.drain() if failure is None]
    assert tokens == sorted(tokens)
    assert set(tokens) == set(range(100))
    queue.close()


def test_a_result_is_not_told_before_it_is_durable(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s")
        pending = log._native.append("s", b"abc", None, None, False, None, None)
        if not pending.ready:
            with pytest.raises(RuntimeError, match="not durable"):
                pending.result()
        pending.wait()
        assert pending.result() == pending.wait()


def test_a_watch_wakes_for_news_and_only_once(memory: LogEngine) -> None:
    memory.create("s")
    reader = memory._native.reader("s").wait()
    queue = CompletionQueue()
    watch = reader.watch(memory.head("s").tail)
    watch.register(queue, 5)
    assert not readable(queue, 0.05)
    memory.append("s", b"a")
    assert readable(queue, 10)
    assert queue.drain() == [(5, None)]
    memory.append("s", b"b")
    assert not readable(queue, 0.05)
    queue.close()


def test_a_watch_behind_old_news_wakes_at_once(memory: LogEngine) -> None:
    tail = memory.create("s").info.tail
    memory.append("s", b"a")
    queue = CompletionQueue()
    watch = memory._native.reader("s").wait().watch(tail)
    watch.register(queue, 5)
    assert readable(queue, 10)
    assert queue.drain() == [(5, None)]
    queue.close()


def test_a_withdrawn_watch_is_silent_and_forgotten(memory: LogEngine) -> None:
    memory.create("s")
    reader = memory._native.reader("s").wait()
    queue = CompletionQueue()
    watches = [reader.watch(memory.head("s").tail) for _ in range(10)]
    for token, watch in enumerate(watches):
        watch.register(queue, token)
    assert memory.stats().watches == 10
    for watch in watches[:9]:
        watch.close()
        watch.close()
    assert memory.stats().watches == 1
    del watches, watch
    assert memory.stats().watches == 0
    memory.append("s", b"a")
    assert not readable(queue, 0.05)
    queue.close()


@pytest.mark.parametrize("end", ["close_stream", "delete"])
def test_a_watch_wakes_for_the_end_of_its_stream(memory: LogEngine, end: str) -> None:
    memory.create("s")
    reader = memory._native.reader("s").wait()
    queue = CompletionQueue()
    watch = reader.watch(memory.head("s").tail)
    watch.register(queue, 5)
    getattr(memory, end)("s")
    assert readable(queue, 10)
    assert queue.drain() == [(5, None)]
    queue.close()


def test_closing_the_log_wakes_its_watches(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.create("s")
    queue = CompletionQueue()
    watch = log._native.reader("s").wait().watch(log.head("s").tail)
    watch.register(queue, 5)
    log.close()
    assert readable(queue, 10)
    [(token, failure)] = queue.drain()
    assert token == 5
    if failure is not None:
        assert failure.kind == "closed"
        assert isinstance(failure.exception(), EngineClosed)
    queue.close()


def test_a_closed_queue_drops_what_still_comes(memory: LogEngine) -> None:
    memory.create("s")
    reader = memory._native.reader("s").wait()
    queue = CompletionQueue()
    watch = reader.watch(memory.head("s").tail)
    watch.register(queue, 5)
    fd = queue.fileno()
    queue.close()
    queue.close()
    memory.append("s", b"a")
    assert queue.drain() == []
    with pytest.raises(ValueError, match="closed"):
        queue.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_dropped_queue_closes_its_descriptor() -> None:
    queue = CompletionQueue()
    fd = queue.fileno()
    del queue
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
