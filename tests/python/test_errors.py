"""Exceptions carry their facts, everywhere they go."""

import pickle
from collections.abc import Callable

import pytest

import durastream
from durastream import LogEngine, Offset, errors

HERE = Offset("0000000000000001_0000000000000005")
THERE = Offset("0000000000000001_0000000000000009")

EXAMPLES: list[errors.DurableStreamError] = [
    errors.DurableStreamError("text"),
    errors.StreamNotFound("text", "a"),
    errors.StreamExists("text", "a", "content type"),
    errors.StreamDeleted("text", "a"),
    errors.StreamClosed("text", HERE),
    errors.OffsetGone("text", HERE, Offset.START, THERE),
    errors.TailMoved("text", HERE, THERE),
    errors.SeqConflict("text", b"b", b"a"),
    errors.ContentTypeMismatch("text", "text/plain", "text/html"),
    errors.ProducerFenced("text", 1, 2),
    errors.ProducerGap("text", 3, 5),
    errors.ProducerEpochStart("text", 4),
    errors.InvalidInput("text"),
    errors.InvalidPath("text"),
    errors.InvalidOffset("text", "x"),
    errors.InvalidPayload("text", 7),
    errors.PayloadTooDeep("text", 7, 128, 129),
    errors.InvalidContentType("text", "x"),
    errors.InvalidForkPoint("text"),
    errors.InvalidProducer("text"),
    errors.LimitExceeded("text", 10, 11, "max_append_bytes"),
    errors.Overloaded("text", 10, 11),
    errors.StorageFull("text", "/data"),
    errors.LogFailed("text", "EIO"),
    errors.ReadFailed("text", "/data/x"),
    errors.DataDamaged("text", None, 8),
    errors.OpenFailed("text", "/data/x", 13),
    errors.DirectoryInUse("text", "/data", "pid 1"),
    errors.DirectoryNotEmpty("text", "/backup"),
    errors.BackupFailed("text", "/backup/1.wal"),
    errors.NotRepairable("text", "/data"),
    errors.FormatVersion("text", "/data/x", 2, 1),
    errors.EngineClosed("text"),
    errors.ForkedProcess("text", 1, 2),
]


def test_every_exception_is_shown_here_and_exported() -> None:
    assert {type(example).__name__ for example in EXAMPLES} == set(errors.__all__)
    assert set(errors.__all__) <= set(durastream.__all__)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_pickle_keeps_the_text_and_the_facts(error: errors.DurableStreamError) -> None:
    error.index = 3
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == "text"
    assert copy.args == error.args
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_exception_has_a_docstring(error: errors.DurableStreamError) -> None:
    assert type(error).__doc__


def test_builtin_categories_catch_them() -> None:
    assert issubclass(errors.StreamNotFound, KeyError)
    assert issubclass(errors.InvalidPath, ValueError)
    assert issubclass(errors.LimitExceeded, ValueError)
    assert issubclass(errors.EngineClosed, RuntimeError)


def test_a_missing_stream_is_named(memory: LogEngine) -> None:
    calls: list[Callable[[], object]] = [
        lambda: memory.append("no/such", b"x"),
        lambda: memory.read("no/such"),
        lambda: memory.follow("no/such"),
        lambda: memory.head("no/such"),
        lambda: memory.delete("no/such"),
        lambda: memory.trim("no/such", Offset.START),
        lambda: memory.close_stream("no/such"),
        lambda: memory.fork("no/such", "target"),
    ]
    for call in calls:
        with pytest.raises(errors.StreamNotFound) as caught:
            call()
        assert caught.value.path == "no/such"
        assert "no/such" in str(caught.value)
        assert str(caught.value)[0] not in "'\""


def test_closed_tells_the_final_offset(memory: LogEngine) -> None:
    memory.create("s")
    tail = memory.append("s", b"abc", close=True).next_offset
    with pytest.raises(errors.StreamClosed) as caught:
        memory.append("s", b"more")
    assert caught.value.tail == tail


def test_fenced_tells_the_current_epoch(memory: LogEngine) -> None:
    memory.create("s")
    memory.append("s", b"a", producer=("p", 5, 0))
    with pytest.raises(errors.ProducerFenced) as caught:
        memory.append("s", b"b", producer=("p", 4, 1))
    assert (caught.value.received_epoch, caught.value.current_epoch) == (4, 5)


def test_a_gap_tells_both_numbers(memory: LogEngine) -> None:
    memory.create("s")
    memory.append("s", b"a", producer=("p", 0, 0))
    with pytest.raises(errors.ProducerGap) as caught:
        memory.append("s", b"b", producer=("p", 0, 7))
    assert (caught.value.expected, caught.value.received) == (1, 7)


def test_an_epoch_that_does_not_start_at_zero_tells_its_number(memory: LogEngine) -> None:
    memory.create("s")
    memory.append("s", b"a", producer=("p", 0, 0))
    with pytest.raises(errors.ProducerEpochStart) as caught:
        memory.append("s", b"b", producer=("p", 1, 3))
    assert caught.value.received == 3


def test_a_sequence_conflict_tells_both(memory: LogEngine) -> None:
    memory.create("s")
    memory.append("s", b"a", stream_seq="b")
    with pytest.raises(errors.SeqConflict) as caught:
        memory.append("s", b"a", stream_seq=b"a")
    assert (caught.value.last, caught.value.got) == (b"b", b"a")


def test_a_content_type_mismatch_tells_both(memory: LogEngine) -> None:
    memory.create("s", content_type="text/plain")
    with pytest.raises(errors.ContentTypeMismatch) as caught:
        memory.append("s", b"a", content_type="text/html")
    assert (caught.value.expected, caught.value.got) == ("text/plain", "text/html")


def test_broken_json_tells_the_byte(memory: LogEngine) -> None:
    memory.create("s", content_type="application/json")
    with pytest.raises(errors.InvalidPayload) as caught:
        memory.append("s", b'{"a": }')
    assert caught.value.at == 6
    assert isinstance(caught.value, ValueError)


def test_deep_json_tells_limit_and_depth() -> None:
    with LogEngine(":memory:", max_json_depth=8) as log:
        log.create("s", content_type="application/json")
        with pytest.raises(errors.PayloadTooDeep) as caught:
            log.append("s", b'{"a":' * 9 + b"1" + b"}" * 9)
    assert caught.value.limit == 8
    assert caught.value.value == 9


def test_a_limit_tells_its_name_and_both_values() -> None:
    with LogEngine(":memory:", max_append_bytes=10) as log:
        log.create("s")
        with pytest.raises(errors.LimitExceeded) as caught:
            log.append("s", b"x" * 11)
    assert (caught.value.limit, caught.value.value) == (10, 11)
    assert caught.value.flag == "max_append_bytes"


def test_a_moved_tail_tells_both(memory: LogEngine) -> None:
    memory.create("s")
    first = memory.append("s", b"a")
    second = memory.append("s", b"b")
    with pytest.raises(errors.TailMoved) as caught:
        memory.append("s", b"c", if_tail=first.next_offset)
    assert (caught.value.expected, caught.value.tail) == (first.next_offset, second.next_offset)


def test_a_token_of_an_earlier_life_tells_where_to_begin_again(memory: LogEngine) -> None:
    memory.create("s")
    stale = memory.append("s", b"a").next_offset
    memory.delete("s")
    memory.create("s")
    tail = memory.append("s", b"b").next_offset
    with pytest.raises(errors.OffsetGone) as caught:
        memory.read("s", stale)
    assert caught.value.asked == stale
    assert caught.value.tail == tail
    assert bytes(memory.read("s", caught.value.earliest)) == b"b"


@pytest.mark.parametrize("path", ["", "/", "a//b", "a/../b", ".", "a\n", "x" * 1025])
def test_a_bad_path_is_refused_by_every_call(memory: LogEngine, path: str) -> None:
    for call in (memory.create, memory.head, memory.read, memory.delete, memory.exists):
        with pytest.raises(errors.InvalidPath):
            call(path)


@pytest.mark.parametrize(
    "producer",
    [("", 0, 0), ("p", -1, 0), ("p", 0, -1), ("p", 2**53, 0), ("p", 0, 2**53), ("p", 0, 2**70)],
)
def test_a_bad_producer_is_refused(memory: LogEngine, producer: tuple[str, int, int]) -> None:
    memory.create("s")
    with pytest.raises(errors.InvalidProducer):
        memory.append("s", b"x", producer=producer)


@pytest.mark.parametrize("producer", [("p", 0), ["p", 0, 0], ("p", "0", 0), (1, 0, 0), "p"])
def test_a_producer_of_other_types_is_a_type_error(memory: LogEngine, producer: object) -> None:
    memory.create("s")
    with pytest.raises(TypeError):
        memory.append("s", b"x", producer=producer)  # type: ignore[arg-type]
