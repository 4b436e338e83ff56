"""When to try again, and one request with its retries."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from durastream.client import errors
from durastream.client.core import refusal, steps
from durastream.client.core.steps import Answer, Broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from durastream.client.core.steps import Operation
    from durastream.client.core.target import Target
    from durastream.client.options import Retry

# 4xx that another attempt may turn into something else (RFC 9110, RFC 8470, RFC 6585).
PASSING = frozenset({408, 425, 429})
# By these the server says that it did not do it; 500, and a gateway's 502 and 504, leave that open.
NOT_DONE = frozenset({408, 425, 429, 503})
REFUSED = frozenset({501, 505})
WRITING: Final = ("append", "close")


def may_pass(status: int, *, repeatable: bool) -> bool:
    """Whether to try again after this status."""
    if not repeatable:
        return status in NOT_DONE
    return status in PASSING or (status >= 500 and status not in REFUSED)


def leaves_open(status: int) -> bool:
    """Whether what was asked for may have been done in spite of this status."""
    return status >= 500 and status not in NOT_DONE | REFUSED


class Backoff:
    """Counts failures since the last progress and says how long to wait before the next attempt."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._failures = 0
        self._ceiling = 0.0
        self._since = 0.0

    def progress(self) -> None:
        """Something came through: the next failure is the first again."""
        self._failures = 0

    def after(self, broken: Broken) -> float | None:
        """Seconds to wait after a request without a whole answer; `None` when there is no use in another."""
        return None if broken.for_good else self.delay()

    def delay(self, at_least: float | None = None) -> float | None:
        """Seconds to wait after a failure; `None` when it was the last one allowed."""
        retry = self._retry
        now = time.monotonic()
        if self._failures == 0:
            self._since, self._ceiling = now, retry.initial_delay
        else:  # not a power: that overflows when a server is away for long
            self._ceiling = min(retry.max_delay, self._ceiling * retry.multiplier)
        self._failures += 1
        if self._failures > retry.max_retries:
            return None
        wait = max(random.uniform(0, self._ceiling), at_least or 0.0)  # noqa: S311  (jitter)
        if retry.deadline is not None and now + wait - self._since > retry.deadline:
            return None
        return wait


def connection_failed(broken: Broken, url: str, doing: str) -> errors.ConnectionFailed:
    """The error for a request without an answer."""
    error = errors.ConnectionFailed(f"{refusal.cannot(doing, url)}: {broken.reason}", url=url)
    return in_doubt(error) if broken.sent and doing in WRITING else error


ErrorT = TypeVar("ErrorT", bound=errors.ClientError)


def in_doubt(error: ErrorT) -> ErrorT:
    """An error of a write that may have been carried out all the same."""
    error.message += "; whether the server has it is not known"
    error.args = (error.message,)
    error.maybe_written = True
    return error


def call(
    target: Target,
    doing: str,
    method: str,
    headers: Mapping[str, str],
    retry: Retry,
    *,
    content: bytes | None = None,
    repeatable: bool = True,
) -> Operation[tuple[Answer, bool]]:
    """One request, sent again while that is safe and allowed.

    Gives the answer, and whether an earlier attempt may have arrived. A request that is not `repeatable` is
    sent again only when it certainly was not carried out.
    """
    backoff = Backoff(retry)
    refreshed = maybe_done = False
    while True:
        request = yield from target.request(method, headers, content=content)
        wait: float | None
        try:
            answer = yield from steps.send(request)
        except Broken as broken:
            maybe_done = maybe_done or broken.sent
            wait = backoff.after(broken) if repeatable or not broken.sent else None
            if wait is None:
                known = Broken(broken.reason, sent=maybe_done)
                raise connection_failed(known, target.shown, doing) from broken
        else:
            if answer.status < 300:
                return answer, maybe_done
            if answer.status == 401 and target.dynamic and not refreshed:
                refreshed = True
                continue
            error = refusal.of(answer, target.shown, doing, headers)
            if maybe_done and doing == "delete" and answer.status == 404:
                return answer, maybe_done
            trusted = retry.append_after_500 and answer.status == 500
            maybe_done = maybe_done or (leaves_open(answer.status) and not trusted)
            wait = None
            if may_pass(answer.status, repeatable=repeatable or trusted):
                wait = backoff.delay(refusal.retry_after(answer.headers))
            if wait is None:
                raise in_doubt(error) if maybe_done and doing in WRITING else error
            refreshed = False
        yield from steps.sleep(wait)
