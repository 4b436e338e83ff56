"""When to try again, and one request with its retries."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

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
# By these the server itself says that it did not do it; a gateway's 502 and 504 leave that open.
NOT_DONE = frozenset({408, 425, 429, 500, 503})


def may_pass(status: int, *, repeatable: bool) -> bool:
    """Whether to try again after this status."""
    if not repeatable:
        return status in NOT_DONE
    return status in PASSING or (status >= 500 and status not in (501, 505))


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
    doubt = broken.sent and doing in ("append", "close")
    suffix = "; whether the server has it is not known" if doubt else ""
    error = errors.ConnectionFailed(f"cannot {doing} {url}: {broken.reason}{suffix}", url=url)
    error.maybe_written = doubt
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
            wait = backoff.delay() if repeatable or not broken.sent else None
            if wait is None:
                raise connection_failed(broken, target.shown, doing) from broken
        else:
            if answer.status < 300:
                return answer, maybe_done
            if answer.status == 401 and target.dynamic and not refreshed:
                refreshed = True
                continue
            error = refusal.of(answer, target.shown, doing, headers)
            if not may_pass(answer.status, repeatable=repeatable):
                if maybe_done and doing == "delete" and answer.status == 404:
                    return answer, maybe_done
                raise error
            wait = backoff.delay(refusal.retry_after(answer.headers))
            if wait is None:
                raise error
            refreshed = False
        yield from steps.sleep(wait)
