"""The reader's rules, answered by hand: what it asks for, in what order, and when it waits."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from durastream.client import ClientError, ConnectionFailed, ProtocolError, Retry, StreamGone
from durastream.client.core.reader import HURRIED_PAUSE, LONGEST_PAUSE, Reader
from durastream.client.core.steps import Answer, Broken, Current, Request, Step
from durastream.client.core.target import Target
from durastream.client.options import Live
from durastream.client.results import Chunk

URL = "http://server.example/s"
RETRY = Retry(max_retries=3, initial_delay=0.001, max_delay=0.001)
Reply = tuple[int, Mapping[str, str], bytes]


def page(body: bytes, offset: str, **more: str) -> Reply:
    headers = {"content-type": "application/json", "stream-next-offset": offset}
    return 200, headers | {name.replace("_", "-"): value for name, value in more.items()}, body


def nothing(offset: str, **more: str) -> Reply:
    return (204, *page(b"", offset, stream_up_to_date="true", **more)[1:])


class World:
    """Performs a reader's steps: gives the replies in order, and notes requests and waits."""

    def __init__(
        self,
        replies: list[Reply | Broken],
        *,
        live: Live = False,
        **given: Any,  # noqa: ANN401
    ) -> None:
        self.replies = replies
        self.asked: list[Request] = []
        self.waited: list[float] = []
        target = Target.of(URL, given.pop("headers", None), None)
        self.reader = Reader(
            target, "-1", live, RETRY, stall_timeout=9.0, on_error=given.pop("on_error", None)
        )
        self._then_silent = given.pop("then_silent", False)
        self._pieces: list[bytes] = []

    def run(self, most: int = 100) -> list[Chunk]:
        """Up to the end of the reading, or until the replies are used up."""
        found: list[Chunk] = []
        reading = self.reader.run()
        answer: Any = None
        act: Callable[[Any], Any] = reading.send
        for _ in range(most):
            try:
                step = act(answer)
            except StopIteration:
                return found
            act, answer = reading.send, None
            if isinstance(step, list):
                found.extend(step)
            elif step.name == "begin" and not self.replies:
                reading.close()
                return found
            else:
                try:
                    answer = self._perform(step)
                except Broken as broken:
                    act, answer = reading.throw, broken
        raise AssertionError("it goes on and on")

    def _perform(self, step: Step) -> object:
        match step.name:
            case "begin":
                self.asked.append(step.arguments[0])
                reply = self.replies.pop(0)
                if isinstance(reply, Broken):
                    raise reply
                self._pieces = [reply[2]]
                return Answer(reply[0], reply[1])
            case "piece" | "lent" if self._then_silent and self._pieces in ([], [b""]):
                raise Broken("silent", sent=True, silent=True)
            case "piece" | "lent" | "rest":
                return self._pieces.pop() if self._pieces else b""
            case "sleep":
                self.waited.append(step.arguments[0])
            case "current":
                headers = step.arguments[0]
                return Current({n: v() if callable(v) else v for n, v in headers.items()}, {})
            case "ask":
                return step.arguments[0](*step.arguments[1])
        return None

    def params(self) -> list[dict[str, str]]:
        """The query of each request."""
        return [
            {name: values[0] for name, values in parse_qs(urlsplit(r.url).query).items()}
            for r in self.asked
        ]


@pytest.mark.parametrize("live", ["long-poll", "sse", True, False])
def test_a_closed_tail_is_asked_for_once(live: Live) -> None:
    world = World([nothing("0_5", stream_closed="true")], live=live)
    [head] = world.run()
    assert (len(world.asked), head.closed, world.waited) == (1, True, [])


def test_a_stream_closed_while_it_is_polled_ends_the_reading() -> None:
    replies: list[Reply | Broken] = [
        page(b"[1]", "0_2", stream_up_to_date="true"),
        nothing("0_2", stream_closed="true"),
    ]
    world = World(replies, live="long-poll")
    assert [chunk.data for chunk in world.run()] == [b"[1]", b""]
    assert world.params() == [{"offset": "-1"}, {"offset": "0_2", "live": "long-poll"}]


def test_polls_that_are_not_held_are_spaced_out_ever_more() -> None:
    first = page(b"[]", "0_0", stream_up_to_date="true")
    world = World([first, *[nothing("0_0")] * 12], live="long-poll")
    world.run(200)
    assert len(world.waited) == 12
    assert world.waited[0] == HURRIED_PAUSE
    assert world.waited[-1] == LONGEST_PAUSE
    assert world.waited == sorted(world.waited)


def test_news_end_the_pause() -> None:
    replies: list[Reply | Broken] = [page(b"[]", "0_0", stream_up_to_date="true")]
    replies += [nothing("0_0")] * 4
    replies += [page(b"[1]", "0_2", stream_up_to_date="true"), nothing("0_2")]
    world = World(replies, live="long-poll")
    world.run()
    assert world.waited[-1] == HURRIED_PAUSE


def test_pages_are_asked_for_until_the_tail_and_their_cursor_goes_along() -> None:
    replies: list[Reply | Broken] = [
        page(b"[1]", "0_2"),
        page(b"[2]", "0_4", stream_up_to_date="true", stream_cursor="c9"),
        page(b"[3]", "0_6", stream_closed="true"),
    ]
    world = World(replies, live="long-poll")
    assert b"".join(chunk.data for chunk in world.run()) == b"[1][2][3]"
    polled = {"offset": "0_4", "live": "long-poll", "cursor": "c9"}
    assert world.params() == [{"offset": "-1"}, {"offset": "0_2"}, polled]


def test_a_dropped_page_is_asked_for_again_from_where_it_was() -> None:
    replies: list[Reply | Broken] = [
        page(b"[1]", "0_2"),
        Broken("dropped", sent=True),
        page(b"[2]", "0_4", stream_up_to_date="true"),
    ]
    world = World(replies)
    assert [chunk.data for chunk in world.run()] == [b"[1]", b"[2]"]
    assert [p["offset"] for p in world.params()] == ["-1", "0_2", "0_2"]


def test_a_token_is_refreshed_once_for_each_401_in_the_middle() -> None:
    tokens = iter(["old", "old", "new"])
    replies: list[Reply | Broken] = [
        page(b"[1]", "0_2"),
        (401, {}, b""),
        page(b"[2]", "0_4", stream_up_to_date="true"),
    ]
    world = World(replies, headers={"Authorization": lambda: next(tokens)})
    assert [chunk.data for chunk in world.run()] == [b"[1]", b"[2]"]
    assert [r.headers["Authorization"] for r in world.asked] == ["old", "old", "new"]
    assert world.waited == []


@pytest.mark.parametrize(("earliest", "advice"), [("0_9", '"0_9"'), (None, '"-1" (the start)')])
def test_what_is_gone_says_what_to_do(earliest: str | None, advice: str) -> None:
    problem = b'{"earliest": "0_9"}' if earliest else b"{}"
    world = World([(410, {"content-type": "application/problem+json"}, problem)])
    with pytest.raises(StreamGone) as raised:
        world.run()
    gone = raised.value
    assert f"read again from {advice}" in str(gone)
    assert (gone.earliest, gone.status, gone.url) == (earliest, 410, URL)


def test_retry_after_is_waited_for() -> None:
    replies: list[Reply | Broken] = [
        (429, {"retry-after": "3"}, b""),
        page(b"[1]", "0_2", stream_up_to_date="true"),
    ]
    world = World(replies)
    world.run()
    assert world.waited == [3.0]


def test_live_requests_may_be_silent_only_for_so_long_and_others_as_the_client_says() -> None:
    replies: list[Reply | Broken] = [page(b"[]", "0_0", stream_up_to_date="true"), nothing("0_0")]
    world = World(replies, live="long-poll")
    world.run()
    assert [request.read_timeout for request in world.asked] == [None, 9.0]


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_any_number_of_waits_given_up_is_no_failure(live: Live) -> None:
    replies: list[Reply | Broken] = [page(b"[1]", "0_2", stream_up_to_date="true")]
    replies += [Broken("interrupted", sent=True, interrupted=True) for _ in range(20)]
    world = World(replies, live=live)
    assert [chunk.data for chunk in world.run()] == [b"[1]"]
    assert (world.replies, world.waited) == ([], [])


def test_text_is_followed_as_it_is_unless_events_are_asked_for() -> None:
    first = page(b"a\r\n", "0_2", stream_up_to_date="true", content_type="text/plain")
    world = World([first, nothing("0_2", stream_closed="true")], live=True)
    world.run()
    assert world.params() == [{"offset": "-1"}, {"offset": "0_2", "live": "long-poll"}]


@pytest.mark.parametrize("piecewise", [False, True])
def test_polls_answered_by_an_empty_array_at_once_are_spaced_out(piecewise: bool) -> None:
    empty = page(b" [ ]\n", "0_0", stream_up_to_date="true")
    world = World([empty] * 8, live="long-poll")
    world.reader.piecewise = piecewise
    world.run(200)
    assert len(world.waited) == 7
    assert world.waited == sorted(world.waited)


@pytest.mark.parametrize("piecewise", [False, True])
def test_data_that_lead_nowhere_are_an_error_not_handed_out_for_ever(piecewise: bool) -> None:
    world = World([page(b"[1]", "0_1"), page(b"[1]", "0_1")])
    world.reader.piecewise = piecewise
    with pytest.raises(ProtocolError, match="Stream-Next-Offset"):
        world.run()


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_any_number_of_silences_is_no_failure_of_a_quiet_stream(live: Live) -> None:
    control = b'event: control\ndata: {"streamNextOffset": "0_2", "upToDate": true}\n\n'
    silence = Broken("silent", sent=True, silent=True)
    replies: list[Reply | Broken] = [page(b"[1]", "0_2", stream_up_to_date="true")]
    if live == "sse":
        opened = {"content-type": "text/event-stream"}
        replies += [(200, opened, control)] * 20
    else:
        replies += [silence] * 20
    world = World(replies, live=live, then_silent=live == "sse")
    assert [chunk.data for chunk in world.run(500) if chunk.data] == [b"[1]"]
    assert world.replies == []


def test_event_streams_without_a_byte_end_in_an_error_or_in_polls() -> None:
    first = page(b"[1]", "0_2", stream_up_to_date="true")
    mute: Reply = (200, {"content-type": "text/event-stream"}, b"")
    with pytest.raises(ConnectionFailed):
        World([first, *[mute] * 9], live="sse", then_silent=True).run(500)
    world = World([first, *[mute] * 3, nothing("0_2")], live=True, then_silent=True)
    world.run(500)
    assert world.params()[-1]["live"] == "long-poll"


@pytest.mark.parametrize("live", [False, "sse"])
def test_on_error_is_asked_once_about_an_answer_of_somebody_else(live: Live) -> None:
    asked: list[ClientError] = []
    html: Reply = (200, {"content-type": "text/html"}, b"<html>")
    replies: list[Reply | Broken] = [html]
    if live:
        replies.insert(0, page(b"[1]", "0_2", stream_up_to_date="true"))
    with pytest.raises(ProtocolError) as raised:
        World(replies, live=live, on_error=asked.append).run()
    assert asked == [raised.value]
