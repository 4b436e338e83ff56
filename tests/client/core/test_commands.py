"""Only the protocol's own answers count as success, whatever stands between client and server."""

from collections.abc import Callable
from typing import Any

import pytest

from durastream.client import ClientError, ProtocolError, Retry
from durastream.client.core import commands
from durastream.client.core.commands import Commands
from durastream.client.core.steps import Answer, Operation
from durastream.client.core.target import Target

URL = "http://server.example/s"
END = {"stream-next-offset": "0_2"}
CLOSED = END | {"stream-closed": "true"}
LOGIN = Answer(200, {"content-type": "text/html"}, b"<html>log in</html>")

Ask = Callable[[Commands], Operation[Any]]

ASKED: list[tuple[str, Ask, Answer]] = [
    (
        "create",
        lambda c: c.create(None, ttl=None, expires_at=None, body=None, closed=False),
        Answer(201, END),
    ),
    ("head", lambda c: c.head(), Answer(200, END)),
    ("append", lambda c: c.append([b"x"]), Answer(204, END)),
    ("close", lambda c: c.close(None), Answer(204, CLOSED)),
    ("close with data", lambda c: c.close(b"z"), Answer(204, CLOSED)),
    ("delete", lambda c: c.delete(), Answer(204, {})),
]


def performed(ask: Ask, answer: Answer) -> object:
    operation = ask(Commands(Target.of(URL, None, None), "text/plain", Retry(max_retries=0)))
    step = next(operation)
    assert step.name == "send"
    try:
        operation.send(answer)
    except StopIteration as end:
        return end.value
    raise AssertionError("it goes on")


@pytest.mark.parametrize(("name", "ask", "good"), ASKED, ids=[name for name, *_ in ASKED])
def test_a_login_page_is_no_success(name: str, ask: Ask, good: Answer) -> None:
    performed(ask, good)
    for wrong in (LOGIN, Answer(202, END), Answer(206, CLOSED)):
        with pytest.raises(ProtocolError) as raised:
            performed(ask, wrong)
        assert (raised.value.status, raised.value.url) == (wrong.status, URL)
        assert raised.value.maybe_written is name.startswith(("append", "close"))


@pytest.mark.parametrize("last", [None, b"z"])
def test_only_an_answer_that_says_so_closes_a_stream(last: bytes | None) -> None:
    with pytest.raises(ProtocolError, match="Stream-Closed"):
        performed(lambda c: c.close(last), Answer(204, END))


def test_a_repetition_is_confirmed_by_its_number_alone() -> None:
    repeated = commands.appended(Answer(204, {"producer-epoch": "1", "producer-seq": "7"}))
    assert (repeated.duplicate, repeated.producer_seq) == (True, 7)
    for wrong in (LOGIN, Answer(204, {}), Answer(200, {"producer-seq": "7"})):
        with pytest.raises(ClientError):
            commands.appended(wrong, URL)
