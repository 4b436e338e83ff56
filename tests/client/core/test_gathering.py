"""Which appends travel together, and that there is always one who sends."""

import threading

from durastream.client.core.gathering import MAX_BATCH_BYTES, Queue, Ticket
from durastream.client.results import Appended

DONE = Appended("0_1")
Waiting = Ticket[threading.Event]


def waiting(payload: bytes = b"x", kind: str = "text/plain") -> Waiting:
    return Ticket(payload, kind, threading.Event())


def test_the_first_sends_and_whoever_came_meanwhile_goes_next_together() -> None:
    queue: Queue[threading.Event] = Queue()
    first, *others = [waiting() for _ in range(4)]
    assert queue.join(first)
    assert queue.next_batch() == [first]
    assert [queue.join(each) for each in others] == [False] * 3
    queue.settle([first], DONE)
    assert first.result() is DONE
    assert [each.turn.is_set() for each in others] == [True, False, False]
    assert queue.next_batch() == others
    queue.settle(others, DONE)
    assert all(each.turn.is_set() for each in others)
    assert queue.join(waiting()), "nobody sends any more"


def test_a_batch_is_of_one_type_and_bounded() -> None:
    queue: Queue[threading.Event] = Queue()
    half = b"x" * (MAX_BATCH_BYTES // 2)
    given = [waiting(half), waiting(half), waiting(b"y"), waiting(b"{}", "application/json")]
    given.append(waiting(b"x" * (2 * MAX_BATCH_BYTES)))
    for each in given:
        queue.join(each)
    assert [queue.next_batch() for _ in range(4)] == [given[:2], [given[2]], [given[3]], [given[4]]]


def test_a_turn_that_nobody_takes_goes_to_the_next() -> None:
    queue: Queue[threading.Event] = Queue()
    sender, gone, last = waiting(), waiting(), waiting()
    queue.join(sender)
    batch = queue.next_batch()
    queue.join(gone)
    queue.join(last)
    queue.settle(batch, DONE)
    assert gone.turn.is_set()
    queue.withdraw(gone)
    assert last.turn.is_set()
    queue.withdraw(last)
    assert queue.join(waiting()), "nobody is left to send"
