"""Creating, describing, listing, forking, trimming and deleting streams."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from durastream import LogEngine, Offset, errors


def test_a_new_stream_is_described(log: LogEngine) -> None:
    before = datetime.now(UTC)
    created = log.create("a/b", content_type="text/plain; charset=utf-8", body=b"hi")
    assert created.created
    info = created.info
    assert info == log.head("a/b")
    assert info.path == "a/b"
    assert info.content_type == "text/plain; charset=utf-8"
    assert info.tail.position == 2
    assert info.floor.position == 0
    assert not info.closed
    assert (info.ttl, info.expires_at) == (None, None)
    assert before - timedelta(seconds=1) <= info.created_at <= datetime.now(UTC)


def test_creating_again_confirms(log: LogEngine) -> None:
    assert log.create("s", content_type="text/plain", ttl=60).created
    again = log.create("s", content_type="text/plain", ttl=60)
    assert not again.created
    assert again.info == log.head("s")


@pytest.mark.parametrize(
    "other",
    [{"content_type": "text/html"}, {"ttl": 61}, {"closed": True}, {"ttl": None}],
    ids=str,
)
def test_another_configuration_is_refused(memory: LogEngine, other: dict[str, object]) -> None:
    config: dict[str, object] = {"content_type": "text/plain", "ttl": 60}
    memory.create("s", **config)  # type: ignore[arg-type]
    with pytest.raises(errors.StreamExists) as caught:
        memory.create("s", **{**config, **other})  # type: ignore[arg-type]
    assert caught.value.path == "s"
    assert caught.value.differs


def test_ttl_is_seconds_or_timedelta(memory: LogEngine) -> None:
    assert memory.create("a", ttl=90).info.ttl == timedelta(seconds=90)
    assert memory.create("b", ttl=1.5).info.ttl == timedelta(seconds=1.5)
    assert memory.create("c", ttl=timedelta(hours=1)).info.ttl == timedelta(hours=1)


@pytest.mark.parametrize("ttl", [-1, -0.5, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_ttl_that_is_no_duration_is_refused(memory: LogEngine, ttl: float) -> None:
    with pytest.raises(ValueError, match=r"duration|Duration"):
        memory.create("s", ttl=ttl)
    assert not memory.exists("s")


def test_expires_at_is_a_time_with_a_zone(memory: LogEngine) -> None:
    at = datetime.now(timezone(timedelta(hours=5))) + timedelta(hours=1)
    info = memory.create("s", expires_at=at).info
    assert info.expires_at is not None
    assert abs(info.expires_at - at) < timedelta(milliseconds=1)
    naive: Any = datetime.now() + timedelta(hours=1)  # noqa: DTZ005
    cases: list[tuple[Any, type[Exception]]] = [
        (naive, ValueError),
        (3600, TypeError),
        ("2030-01-01T00:00:00Z", TypeError),
    ]
    for wrong, kind in cases:
        with pytest.raises(kind, match=r"^expires_at is .*with a time zone"):
            memory.create("t", expires_at=wrong)
        with pytest.raises(kind, match=r"^expires_at is .*with a time zone"):
            memory.fork("s", "t", expires_at=wrong)
    assert not memory.exists("t")


def test_ttl_and_expires_at_exclude_each_other(memory: LogEngine) -> None:
    with pytest.raises(ValueError, match="not both"):
        memory.create("s", ttl=1, expires_at=datetime.now(UTC))


def test_expired_streams_are_gone_and_their_path_is_free(memory: LogEngine) -> None:
    memory.create("s", body=b"old", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert not memory.exists("s")
    assert memory.create("s", body=b"new").created
    assert bytes(memory.read("s")) == b"new"


def test_a_stream_can_begin_closed(memory: LogEngine) -> None:
    memory.create("s", body=b"all there is", closed=True)
    page = memory.read("s")
    assert page.closed
    with pytest.raises(errors.StreamClosed):
        memory.append("s", b"more")


def test_exists_says_whether_there_is_something_to_read(memory: LogEngine) -> None:
    assert not memory.exists("s")
    memory.create("s")
    assert memory.exists("s")
    memory.fork("s", "f")
    memory.delete("s")
    assert not memory.exists("s")
    assert memory.exists("f")


def test_list_is_in_byte_order_and_pages(memory: LogEngine) -> None:
    names = sorted((f"s/{n}" for n in range(2500)), key=str.encode)
    for name in reversed(names):
        memory.create(name)
    memory.create("other")
    memory.create("t/ü")
    assert [info.path for info in memory.list("s/")] == names
    assert [info.path for info in memory.list()] == ["other", *names, "t/ü"]
    assert [info.path for info in memory.list("s/", limit=7)] == names[:7]
    assert [info.path for info in memory.list("s/", limit=1700)] == names[:1700]
    assert list(memory.list("s/", limit=0)) == []
    assert list(memory.list("nothing")) == []


def test_a_listing_goes_on_from_its_cursor(memory: LogEngine) -> None:
    names = [f"s/{n:03}" for n in range(25)]
    for name in names:
        memory.create(name)
    seen: list[str] = []
    cursor = None
    pages = 0
    while True:
        page = memory.list_page("s/", cursor=cursor, limit=10)
        seen += [info.path for info in page.streams]
        pages += 1
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == names
    assert pages == 3
    assert [info.path for info in memory.list("s/", cursor=names[22])] == names[23:]


def test_a_fork_shares_the_past_and_has_its_own_future(log: LogEngine) -> None:
    log.create("source", body=b"past ")
    point = log.append("source", b"more ").offset
    assert log.fork("source", "fork", point).created
    log.append("fork", b"mine")
    log.append("source", b"theirs")
    assert bytes(log.read("fork")) == b"past mine"
    assert bytes(log.read("source")) == b"past more theirs"
    assert not log.fork("source", "fork", point).created


def test_a_fork_point_can_lie_inside_an_append(memory: LogEngine) -> None:
    memory.create("s", content_type="application/json")
    point = memory.append("s", b"[1, 2, 3]").offset
    memory.fork("s", "f", point, 2)
    assert memory.read("f").json() == [1, 2]
    with pytest.raises(errors.InvalidForkPoint):
        memory.fork("s", "g", point, 4)
    assert not memory.exists("g")


def test_a_fork_takes_what_a_creation_takes(memory: LogEngine) -> None:
    memory.create("s", content_type="text/plain", body=b"a", ttl=100)
    info = memory.fork("s", "f", ttl=5).info
    assert info.content_type == "text/plain"
    assert info.ttl == timedelta(seconds=5)
    with pytest.raises(errors.ContentTypeMismatch):
        memory.fork("s", "g", content_type="text/html")


def test_a_deleted_source_is_kept_for_its_forks(log: LogEngine) -> None:
    log.create("s", body=b"past")
    log.fork("s", "f")
    log.delete("s")
    with pytest.raises(errors.StreamDeleted) as caught:
        log.head("s")
    assert caught.value.path == "s"
    with pytest.raises(errors.StreamDeleted):
        log.create("s")
    assert bytes(log.read("f")) == b"past"
    log.delete("f")
    assert log.create("s").created


def test_a_deleted_stream_stays_deleted(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s", body=b"abc")
        log.delete("s")
        with pytest.raises(errors.StreamNotFound):
            log.delete("s")
    with LogEngine(tmp_path) as log:
        assert not log.exists("s")
        assert log.create("s").info.tail.position == 0


def test_trim_gives_up_whole_events(log: LogEngine) -> None:
    log.create("s")
    log.append("s", b"aaa")
    second = log.append("s", b"bbb")
    log.append("s", b"ccc")
    inside = Offset(f"{second.offset.incarnation:016}_{second.offset.position + 1:016}")
    assert log.trim("s", inside) == second.offset
    assert log.head("s").floor == second.offset
    assert bytes(log.read("s", second.offset)) == b"bbbccc"
    below = Offset(f"{second.offset.incarnation:016}_{1:016}")
    with pytest.raises(errors.OffsetGone) as caught:
        log.read("s", below)
    assert caught.value.earliest == second.offset
    assert bytes(log.read("s", "-1")) == b"bbbccc"


def test_trim_beyond_the_tail_is_refused(memory: LogEngine) -> None:
    info = memory.create("s", body=b"abc").info
    beyond = Offset(f"{info.tail.incarnation:016}_{100:016}")
    with pytest.raises(errors.InvalidOffset) as caught:
        memory.trim("s", beyond)
    assert caught.value.given == str(beyond)


def test_stats_count(memory: LogEngine) -> None:
    memory.create("s")
    memory.append("s", b"abc")
    memory.append("s", b"abc", producer=("p", 0, 0))
    memory.append("s", b"abc", producer=("p", 0, 0))
    memory.read("s")
    stats = memory.stats()
    assert stats.streams == 1
    assert stats.appends == 2
    assert stats.append_bytes == 6
    assert stats.duplicates == 1
    assert stats.reads == 1
    assert stats.read_bytes == 6
    assert stats.durable_lsn == stats.end_lsn > 0
    assert "appends=2" in repr(stats)


def test_values_show_what_they_hold(memory: LogEngine) -> None:
    created = memory.create("s", content_type="text/plain")
    result = memory.append("s", b"abc")
    assert "created=True" in repr(created)
    assert "text/plain" in repr(created.info)
    assert str(result.next_offset) in repr(result)
    assert str(result.next_offset) in repr(memory.read("s"))
