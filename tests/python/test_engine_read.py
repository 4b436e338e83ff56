"""Reading pages and following a stream."""

import ctypes
import threading
import time
from pathlib import Path

import pytest

from durastream import LogEngine, Offset, errors


def test_a_page_gives_whole_events_up_to_its_size(log: LogEngine) -> None:
    log.create("s")
    log.append_many([("s", b"%03d." % n) for n in range(100)])
    got, offset, pages = b"", Offset.START, 0
    while True:
        page = log.read("s", offset, max_bytes=30)
        got += bytes(page)
        assert len(bytes(page)) % 4 == 0
        offset, pages = page.next_offset, pages + 1
        if page.up_to_date:
            break
    assert got == b"".join(b"%03d." % n for n in range(100))
    assert pages > 10


def test_one_event_larger_than_the_page_is_given_whole(memory: LogEngine) -> None:
    memory.create("s", body=b"x" * 1000)
    assert bytes(memory.read("s", max_bytes=10)) == b"x" * 1000


def test_start_now_and_text_are_offsets(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    tail = memory.append("s", b"def").offset
    assert bytes(memory.read("s", "-1")) == b"abcdef"
    assert bytes(memory.read("s", Offset.START)) == b"abcdef"
    assert bytes(memory.read("s", tail)) == b"def"
    assert bytes(memory.read("s", str(tail))) == b"def"
    now = memory.read("s", "now")
    assert not now
    assert now.up_to_date
    assert now.next_offset == memory.head("s").tail


def test_a_trimmed_stream_is_read_from_where_it_now_begins(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    end = memory.append("s", b"def").offset
    memory.trim("s", end)
    assert bytes(memory.read("s")) == b"def"
    assert bytes(next(memory.follow("s", timeout=1))) == b"def"


@pytest.mark.parametrize("offset", ["", "x", "0_0", "NOW", "-2"])
def test_other_text_is_refused(memory: LogEngine, offset: str) -> None:
    memory.create("s")
    with pytest.raises(errors.InvalidOffset):
        memory.read("s", offset)


def test_a_position_inside_an_event_gives_it_whole(memory: LogEngine) -> None:
    memory.create("s")
    first = memory.append("s", b"abc")
    inside = Offset(f"{first.offset.incarnation:016}_{1:016}")
    page = memory.read("s", inside)
    assert bytes(page) == b"abc"
    assert page.start == first.offset


def test_one_event_is_not_copied(memory: LogEngine) -> None:
    memory.create("s", body=b"x" * 100_000)
    page = memory.read("s")
    assert page.data.readonly
    assert page.data.contiguous
    assert page.data == page.chunks[0] == b"x" * 100_000
    # The same memory is behind every view of the page, and behind every page of the event.
    assert _address(page.data) == _address(page.chunks[0]) == _address(memoryview(page))
    assert _address(page.data) == _address(memory.read("s").data)


def _address(view: memoryview) -> int:
    class View(ctypes.Structure):
        _fields_ = (("buf", ctypes.c_void_p), ("rest", ctypes.c_byte * 256))

    raw = View()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(raw), 0)
    try:
        assert raw.buf is not None
        return int(raw.buf)
    finally:
        ctypes.pythonapi.PyBuffer_Release(ctypes.byref(raw))


def test_views_outlive_page_and_log(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s", body=b"abc")
        log.append("s", b"def")
        page = log.read("s")
        chunks, data = page.chunks, page.data
        del page
    assert [bytes(chunk) for chunk in chunks] == [b"abc", b"def"]
    assert bytes(data) == b"abcdef"


def test_views_cannot_be_written(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    with pytest.raises(TypeError, match="read-only"):
        memory.read("s").data[0] = 1


def test_an_empty_page_is_false(memory: LogEngine) -> None:
    memory.create("s")
    page = memory.read("s")
    assert not page
    assert bytes(page) == b""
    assert page.up_to_date
    memory.create("j", content_type="application/json")
    assert not memory.read("j")
    assert bytes(memory.read("j")) == b"[]"
    assert memory.read("j").json() == memory.read("j").messages() == []


def test_json_helpers_refuse_other_streams(memory: LogEngine) -> None:
    memory.create("s", content_type="text/plain", body=b"[1]")
    page = memory.read("s")
    assert page.content_type == "text/plain"
    with pytest.raises(TypeError, match="text/plain"):
        page.json()
    with pytest.raises(TypeError, match="text/plain"):
        page.messages()


def test_cold_data_is_read_from_disk(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s")
        log.append_many([("s", b"%05d" % n) for n in range(1000)])
    with LogEngine(tmp_path, hot_bytes=0) as log:
        assert bytes(log.read("s")) == b"".join(b"%05d" % n for n in range(1000))


def test_follow_gives_what_is_there_then_what_comes(log: LogEngine) -> None:
    log.create("s", body=b"0")
    got: list[bytes] = []
    follower = log.follow("s", timeout=20)

    def follow() -> None:
        got.extend(bytes(page) for page in follower)

    thread = threading.Thread(target=follow)
    thread.start()
    for n in range(1, 10):
        log.append("s", b"%d" % n)
        time.sleep(0.002)
    log.close_stream("s", b"!")
    thread.join(20)
    assert not thread.is_alive()
    assert b"".join(got) == b"0123456789!"
    assert follower.offset == log.head("s").tail


def test_follow_ends_when_nothing_comes(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    begun = time.monotonic()
    assert [bytes(page) for page in memory.follow("s", timeout=0.2)] == [b"abc"]
    assert 0.19 < time.monotonic() - begun < 5


def test_follow_can_go_on_after_a_timeout(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    follower = memory.follow("s", timeout=0)
    assert [bytes(page) for page in follower] == [b"abc"]
    memory.append("s", b"def")
    assert [bytes(page) for page in follower] == [b"def"]


def test_follow_ends_with_a_page_that_says_closed(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    follower = memory.follow("s", timeout=5)
    assert bytes(next(follower)) == b"abc"
    memory.close_stream("s")
    last = next(follower)
    assert last.closed
    assert not last
    assert list(follower) == []
    assert [page.closed for page in memory.follow("s")] == [True]


def test_follow_from_now_gives_only_what_comes(memory: LogEngine) -> None:
    memory.create("s", body=b"old")
    follower = memory.follow("s", "now", timeout=0)
    assert list(follower) == []
    memory.append("s", b"new")
    assert [bytes(page) for page in follower] == [b"new"]


def test_follow_from_now_gives_what_is_appended_after_the_call(log: LogEngine) -> None:
    log.create("s", body=b"before")
    follower = log.follow("s", "now", timeout=0)
    log.append("s", b"after")
    assert bytes(next(follower)) == b"after"


def test_follow_wakes_promptly(log: LogEngine) -> None:
    log.create("s")
    delays = []
    for _ in range(20):
        follower = log.follow("s", "now", timeout=20)
        sent = 0.0

        def send() -> None:
            nonlocal sent
            time.sleep(0.01)
            sent = time.perf_counter()
            log.append("s", b"x")

        thread = threading.Thread(target=send)
        thread.start()
        next(follower)
        delays.append(time.perf_counter() - sent)
        thread.join()
    assert sorted(delays)[10] < 0.03, delays


def test_follow_of_a_deleted_stream_ends_with_its_error(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    follower = memory.follow("s", timeout=20)
    next(follower)
    timer = threading.Timer(0.05, memory.delete, ("s",))
    timer.start()
    with pytest.raises(errors.StreamNotFound):
        next(follower)
    timer.join()


def test_readers_use_the_time_to_live(memory: LogEngine) -> None:
    memory.create("s", ttl=1.5)
    for _ in range(4):
        time.sleep(0.6)
        memory.read("s")
    assert memory.exists("s")
