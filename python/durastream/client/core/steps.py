"""What an operation asks of the outside: send, read, wait. The twins perform it, the operations decide.

An operation is a generator that yields `Step`s and is sent their results. A step that fails on the wire
is thrown in as `Broken`; everything else that a step raises ends the operation.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


class Step(NamedTuple):
    """Call the wire's method `name`."""

    name: str
    arguments: tuple[Any, ...]


Operation: TypeAlias = Generator[Step, Any, T]


class Broken(Exception):
    """No whole answer: refused, dropped, cut short, timed out."""

    def __init__(
        self,
        reason: str,
        *,
        sent: bool,
        silent: bool = False,
        interrupted: bool = False,
        for_good: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        """The request, or a part of it, may have reached the server."""
        self.silent = silent
        """Nothing came for as long as was allowed."""
        self.interrupted = interrupted
        """It was the caller who stopped waiting: no failure, and nothing to wait for."""
        self.for_good = for_good
        """Another attempt would meet the same: no TLS where there should be, or a stranger's certificate."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, ready to be sent."""

    method: str
    url: str
    """With its query; `secret` says whether that may be shown."""
    headers: Mapping[str, str]
    content: bytes | None = None
    secret: bool = False
    read_timeout: float | None = None
    """Seconds to wait for bytes, when it is not the wire's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and the body, unless it is still to be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Current(NamedTuple):
    """Headers and parameters as they are for one request."""

    headers: dict[str, str]
    params: dict[str, str]


def send(request: Request) -> Operation[Answer]:
    """Send it and read the whole answer."""
    answer: Answer = yield Step("send", (request,))
    return answer


def begin(request: Request) -> Operation[Answer]:
    """Send it and read the head of the answer; `piece`, `rest` and `shut` are about its body."""
    answer: Answer = yield Step("begin", (request,))
    return answer


def piece() -> Operation[bytes]:
    """The next bytes of the body; empty at its end."""
    data: bytes = yield Step("piece", ())
    return data


def lent() -> Operation[bytes | memoryview]:
    """As `piece`. What it gives is gone at the next step, and a view begins where its object does."""
    data: bytes | memoryview = yield Step("lent", ())
    return data


def rest() -> Operation[bytes]:
    """The rest of the body."""
    data: bytes = yield Step("rest", ())
    return data


def shut() -> Operation[None]:
    """Give up on the body."""
    yield Step("shut", ())


def sleep(seconds: float) -> Operation[None]:
    """Wait."""
    if seconds > 0:
        yield Step("sleep", (seconds,))


def current(headers: Mapping[str, Any], params: Mapping[str, Any]) -> Operation[Current]:
    """Ask the callables among the values."""
    if not any(map(callable, headers.values())) and not any(map(callable, params.values())):
        return Current(dict(headers), dict(params))
    found: Current = yield Step("current", (headers, params))
    return found


def ask(function: Any, *arguments: Any) -> Operation[Any]:  # noqa: ANN401  (the caller's own function)
    """Call a function of the caller's, which the asynchronous twins may await."""
    answer = yield Step("ask", (function, arguments))
    return answer
