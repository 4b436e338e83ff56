"""What a caller may choose: live modes, header and parameter values, retries and time limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from durastream.client.errors import ClientError

Live: TypeAlias = Literal["long-poll", "sse"] | bool
"""`False` stops at the tail, `"long-poll"` and `"sse"` go on with that mode, `True` chooses."""

Value: TypeAlias = str | Callable[[], str]
"""A header or query parameter: text, or a callable asked anew for every request."""

AsyncValue: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""As `Value`; the callable may also be a coroutine function."""

Values: TypeAlias = Mapping[str, Value]
AsyncValues: TypeAlias = Mapping[str, AsyncValue]


@dataclass(frozen=True, slots=True)
class Again:
    """What an `on_error` of a read returns to go on; `None` raises the error instead.

    `headers` and `params` are added to (and replace) those of the requests to come.
    """

    headers: Mapping[str, str] | None = None
    params: Mapping[str, str] | None = None


OnError: TypeAlias = "Callable[[ClientError], Again | None]"
AsyncOnError: TypeAlias = "Callable[[ClientError], Again | Awaitable[Again | None] | None]"
Message: TypeAlias = Any
"""What one append carries: for a JSON stream any JSON value, or `bytes` that are one JSON text already;
else `bytes`, or `str`, which becomes UTF-8."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with full jitter: the n-th wait is random, up to `initial_delay * multiplier**n`.

    Failures are counted from the last progress: an answer, or data of a live read. `Retry-After` of a
    server is waited for as it says, when that is longer. Times are in seconds.
    """

    max_retries: int = 10
    initial_delay: float = 0.1
    max_delay: float = 10.0
    multiplier: float = 2.0
    deadline: float | None = 120.0
    """How long one operation may go on failing; `None` leaves it to `max_retries`."""
    append_after_500: bool = False
    """Whether a plain append answered 500 is sent again: only for servers that write nothing then.

    Others would have the message twice. An `IdempotentProducer` needs no such choice.
    """

    def __post_init__(self) -> None:
        if self.max_retries < 0:
            raise ValueError(
                f"max_retries is {self.max_retries}: it must be 0 (never again) or more"
            )
        if not self.initial_delay > 0:
            raise ValueError(f"initial_delay is {self.initial_delay} s: it must be above 0")
        if self.max_delay < self.initial_delay:
            raise ValueError(
                f"max_delay is {self.max_delay} s: it must be at least"
                f" initial_delay, {self.initial_delay} s"
            )
        if self.multiplier < 1:
            raise ValueError(f"multiplier is {self.multiplier}: it must be 1 or more")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"deadline is {self.deadline} s: it must be above 0, or None")


NEVER_AGAIN = Retry(max_retries=0)
