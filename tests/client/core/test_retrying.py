"""When to try again and how long to wait, without a server and without waiting."""

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream.client import Retry
from durastream.client.core import refusal, retrying
from durastream.client.core.retrying import Backoff

PATIENT = Retry(max_retries=50, initial_delay=0.1, max_delay=5.0, multiplier=2.0, deadline=None)


class Clock:
    """`time.monotonic`, wound by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("durastream.client.core.retrying.time.monotonic", lambda: self.now)


def ceilings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds that a random wait was drawn from, as they come."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return high

    monkeypatch.setattr("durastream.client.core.retrying.random.uniform", uniform)
    return drawn


def test_the_jitter_is_full_and_its_ceiling_doubles_up_to_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = ceilings(monkeypatch)
    backoff = Backoff(PATIENT)
    for _ in range(8):
        backoff.delay()
    assert [low for low, _ in drawn] == [0.0] * 8
    assert [high for _, high in drawn] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0])


def test_waits_are_spread_over_the_whole_range() -> None:
    """Clients that lost one server together do not come back together."""
    waits = [Backoff(Retry(initial_delay=1.0, max_delay=1.0)).delay() or 0.0 for _ in range(400)]
    assert min(waits) < 0.1
    assert max(waits) > 0.9
    assert len(set(waits)) > 390


@given(st.integers(1, 2000))
def test_no_number_of_failures_makes_it_overflow(failures: int) -> None:
    backoff = Backoff(Retry(max_retries=5000, deadline=None))
    waits = [backoff.delay() for _ in range(failures)]
    assert all(wait is not None and 0 <= wait <= 10 for wait in waits)


def test_progress_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = ceilings(monkeypatch)
    backoff = Backoff(PATIENT)
    backoff.delay()
    backoff.delay()
    backoff.progress()
    backoff.delay()
    assert [high for _, high in drawn] == pytest.approx([0.1, 0.2, 0.1])


def test_there_are_so_many_attempts_and_no_more() -> None:
    backoff = Backoff(Retry(max_retries=3, initial_delay=0.001, deadline=None))
    assert [backoff.delay() is None for _ in range(5)] == [False, False, False, True, True]
    assert Backoff(Retry(max_retries=0)).delay() is None


def test_the_deadline_counts_from_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    ceilings(monkeypatch)
    backoff = Backoff(Retry(max_retries=99, initial_delay=1.0, max_delay=1.0, deadline=10.0))
    assert backoff.delay() is not None
    clock.now += 8.5
    assert backoff.delay() is not None
    clock.now += 0.6
    assert backoff.delay() is None, "the wait would end behind the deadline"


def test_retry_after_is_the_least_that_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    ceilings(monkeypatch)
    assert Backoff(PATIENT).delay(7.0) == 7.0
    assert Backoff(PATIENT).delay(0.01) == pytest.approx(0.1)
    assert Backoff(Retry(deadline=5.0)).delay(7.0) is None, "longer than is allowed altogether"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 3 ", 3.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
    ],
)
def test_retry_after_as_a_number(text: str, seconds: float | None) -> None:
    assert refusal.retry_after({"retry-after": text}) == seconds


def test_retry_after_as_a_date() -> None:
    ahead = email.utils.formatdate(time.time() + 30, usegmt=True)
    found = refusal.retry_after({"retry-after": ahead})
    assert found is not None
    assert 28 < found <= 30
    past = email.utils.formatdate(time.time() - 30, usegmt=True)
    assert refusal.retry_after({"retry-after": past}) == 0.0
    assert refusal.retry_after({}) is None


@pytest.mark.parametrize("status", range(400, 600))
def test_which_statuses_are_tried_again(status: int) -> None:
    if status < 500:
        assert retrying.may_pass(status, repeatable=True) is (status in (408, 425, 429))
    # What may double a message is sent again only at the server's word that it was not done.
    doubling = retrying.may_pass(status, repeatable=False)
    assert doubling is (status in (408, 425, 429, 503))
