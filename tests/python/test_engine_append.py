"""Appending: what is stored, once, in order, and told when durable."""

import array
from pathlib import Path

import pytest

from durastream import LogEngine, errors


def test_an_append_begins_where_the_last_one_ended(log: LogEngine) -> None:
    log.create("s")
    first = log.append("s", b"one")
    second = log.append("s", b"two!")
    assert first.next_offset == second.offset
    assert second.next_offset > second.offset > first.offset
    assert second.next_offset.position == 7
    assert log.head("s").tail == second.next_offset
    assert bytes(log.read("s")) == b"onetwo!"


@pytest.mark.parametrize(
    "data",
    [
        b"abc",
        bytearray(b"abc"),
        memoryview(b"xabcx")[1:4],
        memoryview(b"a-b-c")[::2],
        array.array("B", b"abc"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_any_bytes_like_object_will_do(memory: LogEngine, data: bytes) -> None:
    memory.create("s")
    memory.append("s", data)
    memory.append_many([("s", data)])
    assert bytes(memory.read("s")) == b"abcabc"


def test_what_was_read_can_be_appended(memory: LogEngine) -> None:
    memory.create("s", body=b"abc")
    memory.append("s", memory.read("s").data)
    memory.append("s", memory.read("s"))
    assert bytes(memory.read("s")) == b"abc" * 4


@pytest.mark.parametrize("data", ["abc", 3, None, [b"a"]])
def test_other_objects_are_a_type_error(memory: LogEngine, data: object) -> None:
    memory.create("s")
    with pytest.raises((TypeError, errors.InvalidPayload)):
        memory.append("s", data)  # type: ignore[arg-type]
    assert not memory.read("s")


def test_an_empty_append_is_refused(memory: LogEngine) -> None:
    memory.create("s")
    with pytest.raises(errors.InvalidPayload):
        memory.append("s", b"")


def test_json_messages_are_kept_as_sent_and_arrays_flattened_once(log: LogEngine) -> None:
    log.create("s", content_type="application/json")
    log.append("s", b' {"n": 1.0, "n": 2} ')
    log.append("s", b'[[1], "two" , 3e2]')
    page = log.read("s")
    assert bytes(page) == b'[{"n": 1.0, "n": 2},[1],"two",3e2]'
    assert page.messages() == [b'{"n": 1.0, "n": 2}', b"[1]", b'"two"', b"3e2"]
    assert page.json() == [{"n": 2}, [1], "two", 300.0]


def test_a_repeated_producer_triple_is_stored_once(log: LogEngine) -> None:
    log.create("s")
    first = log.append("s", b"a", producer=("p", 0, 0))
    again = log.append("s", b"a", producer=("p", 0, 0))
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.next_offset == first.next_offset
    assert again.producer == (0, 0)
    assert bytes(log.read("s")) == b"a"


def test_duplicates_are_known_after_a_restart(tmp_path: Path) -> None:
    with LogEngine(tmp_path) as log:
        log.create("s")
        log.append("s", b"a", producer=("p", 0, 0))
        log.append("s", b"b", producer=("p", 0, 1))
    with LogEngine(tmp_path) as log:
        assert log.append("s", b"b", producer=("p", 0, 1)).duplicate
        assert not log.append("s", b"c", producer=("p", 0, 2)).duplicate
        assert bytes(log.read("s")) == b"abc"


def test_append_and_close_is_one_event(log: LogEngine) -> None:
    log.create("s")
    result = log.append("s", b"last", close=True)
    assert result.closed
    page = log.read("s")
    assert page.closed
    assert bytes(page) == b"last"


def test_closing_twice_changes_nothing(log: LogEngine) -> None:
    log.create("s")
    first = log.close_stream("s", b"bye")
    assert first.closed
    assert log.close_stream("s").next_offset == first.next_offset
    with pytest.raises(errors.StreamClosed):
        log.close_stream("s", b"more")


def test_if_tail_is_compare_and_append(log: LogEngine) -> None:
    tail = log.create("s").info.tail
    tail = log.append("s", b"a", if_tail=tail).next_offset
    tail = log.append("s", b"b", if_tail=str(tail)).next_offset
    log.append("s", b"c")
    with pytest.raises(errors.TailMoved):
        log.append("s", b"d", if_tail=tail)
    assert bytes(log.read("s")) == b"abc"


def test_append_many_answers_in_order(log: LogEngine) -> None:
    log.create("a")
    log.create("b")
    results = log.append_many([("a", b"1"), ("b", b"22"), ("a", b"333")])
    assert [result.next_offset.position for result in results] == [1, 2, 4]
    assert bytes(log.read("a")) == b"1333"
    assert bytes(log.read("b")) == b"22"


def test_append_many_is_one_commit_group(log: LogEngine) -> None:
    for name in "abcd":
        log.create(name)
    before = log.stats()
    log.append_many([("abcd"[n % 4], b"x" * 100) for n in range(1000)])
    after = log.stats()
    assert after.appends - before.appends == 1000
    assert after.groups - before.groups == 1
    assert after.syncs - before.syncs == 1


def test_append_many_takes_any_iterable_and_producers(memory: LogEngine) -> None:
    memory.create("s")
    batch = [("s", bytes([65 + n]), ("p", 0, n)) for n in range(5)]
    assert [result.duplicate for result in memory.append_many(iter(batch))] == [False] * 5
    assert [result.duplicate for result in memory.append_many(batch)] == [True] * 5
    assert bytes(memory.read("s")) == b"ABCDE"
    assert memory.append_many([]) == []
    assert len(memory.append_many([("s", b"F", None)])) == 1


def test_a_refusal_ends_the_batch_and_says_where(log: LogEngine) -> None:
    log.create("a")
    log.create("closed", closed=True)
    with pytest.raises(errors.StreamClosed) as caught:
        log.append_many([("a", b"1"), ("a", b"2"), ("closed", b"x"), ("a", b"3")])
    assert caught.value.index == 2
    assert [result.next_offset.position for result in caught.value.completed] == [1, 2]
    assert bytes(log.read("a")) == b"12"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (("a/../b", b"x"), errors.InvalidPath),
        (("a", "text"), TypeError),
        (("a",), TypeError),
        (("a", b"x", None, None), TypeError),
        ((1, b"x"), TypeError),
        (["a", b"x"], TypeError),
        (("a", b"x", ("p", -1, 0)), errors.InvalidProducer),
    ],
)
def test_a_malformed_batch_appends_nothing(
    memory: LogEngine, bad: object, error: type[Exception]
) -> None:
    memory.create("a")
    with pytest.raises(error) as caught:
        memory.append_many([("a", b"1"), bad])  # type: ignore[list-item]
    assert getattr(caught.value, "index", None) == 1
    assert not memory.read("a")


@pytest.mark.parametrize("durability", ["sync", "none", "interval=20"])
def test_every_durability_keeps_what_was_closed(tmp_path: Path, durability: str) -> None:
    with LogEngine(tmp_path, durability=durability) as log:
        log.create("s")
        for n in range(100):
            log.append("s", b"%d," % n)
    with LogEngine(tmp_path) as log:
        assert bytes(log.read("s")) == b"".join(b"%d," % n for n in range(100))


def test_a_large_append_comes_back_whole(log: LogEngine) -> None:
    data = bytes(range(256)) * (20 << 12)
    log.create("s")
    log.append("s", data)
    page = log.read("s", max_bytes=1)
    assert page.data == data
