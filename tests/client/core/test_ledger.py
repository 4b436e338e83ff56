"""The books of a producer, without a server: what is taken, confirmed, claimed and lost."""

import random

import pytest

from durastream.client.core.ledger import Batch, Ledger, Limits
from durastream.client.errors import NotWritten, ProducerFenced
from durastream.client.results import Appended


def ledger(*, linger: float = 0.0, **changes: int | None) -> Ledger:
    limits = {
        "max_batch_bytes": 1 << 20,
        "max_batch_messages": 1,
        "max_in_flight": 3,
        "max_buffered_bytes": 1 << 20,
        **changes,
    }
    return Ledger("p", 0, auto_claim=True, limits=Limits(linger=linger, **limits))  # type: ignore[arg-type]


def taken(books: Ledger) -> Batch:
    batch = books.take()
    assert isinstance(batch, Batch)
    return batch


def given(books: Ledger, *messages: str) -> None:
    for message in messages:
        books.add(message, message.encode())


def answer(batch: Batch) -> Appended:
    return Appended(f"behind {batch.seq}", closed=batch.closing, producer_seq=batch.seq)


def established(books: Ledger) -> Ledger:
    given(books, "first")
    first = taken(books)
    books.confirmed(first, answer(first))
    return books


def test_the_first_batch_of_an_epoch_travels_alone() -> None:
    books = ledger()
    given(books, "a", "b", "c")
    first = taken(books)
    assert (first.epoch, first.seq, books.take()) == (0, 0, None)
    books.confirmed(first, answer(first))
    assert [taken(books).seq, taken(books).seq] == [1, 2]


def test_no_more_are_on_their_way_than_allowed() -> None:
    books = established(ledger(max_in_flight=2))
    given(books, "a", "b", "c")
    one, _ = taken(books), taken(books)
    assert books.take() is None
    books.confirmed(one, answer(one))
    assert taken(books).content == b"c"


@pytest.mark.parametrize("seed", range(20))
def test_answers_in_any_order_leave_the_highest_as_the_last_one(seed: int) -> None:
    books = established(ledger(max_in_flight=8))
    given(books, *"abcdefg")
    closing = books.add_closing([], [])
    batches = [taken(books) for _ in range(8)]
    random.Random(seed).shuffle(batches)
    for batch in batches:
        books.confirmed(batch, answer(batch))
    assert books.idle
    assert books.acknowledged == answer(closing)
    assert books.acknowledged.closed


def test_a_new_epoch_counts_as_higher() -> None:
    books = established(ledger())
    given(books, "a")
    second = taken(books)
    books.confirmed(second, answer(second))
    books.restart()
    given(books, "b")
    first = taken(books)
    assert (first.epoch, first.seq) == (1, 0)
    books.confirmed(first, answer(first))
    assert books.acknowledged == answer(first)


def test_a_batch_ends_before_it_would_be_too_large() -> None:
    books = established(ledger(max_batch_messages=None, max_batch_bytes=10))
    given(books, "four", "four", "four", "more than ten bytes", "x")
    sizes = []
    for _ in range(4):
        batch = taken(books)
        sizes.append(len(batch.messages))
        books.confirmed(batch, answer(batch))
    assert sizes == [2, 1, 1, 1]


def test_a_batch_lingers_unless_somebody_flushes() -> None:
    books = ledger(max_batch_messages=None, linger=60.0)
    given(books, "a")
    wait = books.take()
    assert isinstance(wait, float)
    assert 59 < wait <= 60
    books.flushing += 1
    assert taken(books).content == b"a"


def test_a_full_buffer_is_told_until_something_is_confirmed() -> None:
    books = ledger(max_buffered_bytes=4)
    given(books, "abc")
    assert books.full
    batch = taken(books)
    books.confirmed(batch, answer(batch))
    assert not books.full


def test_only_an_epoch_in_which_nothing_was_written_is_claimed() -> None:
    books = ledger()
    given(books, "a")
    first = taken(books)
    assert books.may_claim(first)
    books.claim(first, known=6)
    assert (first.epoch, books.epoch) == (7, 7)
    books.confirmed(first, answer(first))
    given(books, "b")
    assert not books.may_claim(taken(books)), "who fences us later stays in charge"


def test_a_batch_that_may_have_arrived_is_not_claimed_into_another_epoch() -> None:
    books = ledger()
    given(books, "a")
    first = taken(books)
    first.doubtful = True
    assert not books.may_claim(first), "it would be written twice"


def test_what_is_behind_a_failed_batch_is_hopeless_and_what_is_before_is_not() -> None:
    books = established(ledger())
    given(books, "a", "b", "c")
    one, two, three = taken(books), taken(books), taken(books)
    books.failed(two, NotWritten("refused"))
    assert [books.hopeless(one), books.hopeless(three)] == [False, True]
    assert books.take() is None


def test_the_first_failure_in_order_is_the_producers() -> None:
    books = established(ledger())
    given(books, "a", "b")
    one, two = taken(books), taken(books)
    first, second = NotWritten("the first"), NotWritten("because of it")
    books.failed(two, second)
    books.failed(one, first)
    assert books.failure is first


def test_everything_not_confirmed_is_given_back_in_order_and_once() -> None:
    books = established(ledger())
    given(books, "a", "b", "c", "d", "e")
    one, two, three = taken(books), taken(books), taken(books)
    books.confirmed(two, answer(two))
    books.failed(three, NotWritten("no"))
    assert books.unconfirmed() == ["a", "c", "d", "e"]
    assert (books.unconfirmed(), books.pending, books.pending_bytes) == ([], 0, 0)
    del one


def test_restart_after_a_fence_goes_beyond_the_epoch_of_the_other() -> None:
    books = established(ledger())
    given(books, "a")
    batch = taken(books)
    fenced = ProducerFenced("another one")
    fenced.current_epoch = 9
    books.failed(batch, fenced)
    books.unconfirmed()
    books.restart()
    assert (books.epoch, books.next_seq, books.failure) == (10, 0, None)


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("max_batch_bytes", 0),
        ("max_batch_messages", 0),
        ("max_in_flight", 0),
        ("max_buffered_bytes", -1),
    ],
)
def test_limits_are_checked_and_named(limit: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{limit} is {value}"):
        ledger(**{limit: value})
