"""Pages handed out as they come, over connections that break anywhere: each message and each byte once, or an error."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream.client import ProtocolError, Retry, StreamGone
from durastream.client.core import jsontext
from durastream.client.core.reader import Reader
from durastream.client.core.steps import Answer, Broken, Step
from durastream.client.core.target import Target

MESSAGES = [{"a": n, "b": [{"a": 1}, {"a": ",{"}], "c": "},{"} for n in range(8)]
WHOLE = len(json.dumps(MESSAGES, separators=(",", ":")))


@dataclass
class Stream:
    """A stream at its server. `cuts` are how many bytes of each answer's body pass; then none is cut any more."""

    messages: list[Any] = field(default_factory=lambda: list(MESSAGES))
    json: bool = True
    cuts: list[int] = field(default_factory=list)
    most: list[int] = field(default_factory=list)
    """Messages in the page of each answer; then all."""
    piece: int = 50
    number: int = 1
    first: int = 0
    tagged: bool = True
    between: Callable[["Stream"], None] = lambda _: None
    """What happens between two answers."""
    asked: list[str] = field(default_factory=list)
    _body: Iterator[bytes] = field(default_factory=lambda: iter(()))

    def perform(self, step: Step) -> object:
        match step.name:
            case "begin":
                if self.asked:
                    self.between(self)
                return self._answer(step.arguments[0].url)
            case "piece" | "lent":
                return next(self._body)
            case "rest":
                return b"".join(iter(lambda: next(self._body), b""))
            case _:
                return None

    def _answer(self, url: str) -> Answer:
        offset = parse_qs(urlsplit(url).query)["offset"][0]
        self.asked.append(offset)
        start = self.first if offset == "-1" else int(offset)
        if start < self.first:
            self._body = iter([b""])
            return Answer(410, {})
        end = start + self.most.pop(0) if self.most else len(self.messages)
        texts = [json.dumps(m, separators=(",", ":")) for m in self.messages[start:end]]
        text = f"[{','.join(texts)}]" if self.json else "".join(texts)
        self._body = self._passing(text.encode())
        headers = {
            "content-type": "application/json" if self.json else "text/plain",
            "stream-next-offset": str(start + len(texts)),
        }
        if end >= len(self.messages):
            headers["stream-up-to-date"] = "true"
        if self.tagged:
            headers["etag"] = f'"{self.number}:{start}:{start + len(texts)}"'
        return Answer(200, headers)

    def _passing(self, body: bytes) -> Iterator[bytes]:
        cut = self.cuts.pop(0) if self.cuts else None
        passing = body if cut is None else body[:cut]
        for at in range(0, len(passing), self.piece):
            yield passing[at : at + self.piece]
        if cut is not None:
            raise Broken("cut", sent=True)
        yield b""


def read(stream: Stream, offset: str = "-1") -> list[Any]:
    """The messages of the stream, or its text in pieces."""
    target = Target.of("http://server.example/s", None, None)
    retry = Retry(max_retries=1000, deadline=None)
    reader = Reader(target, offset, False, retry, stall_timeout=9.0, on_error=None)
    reader.by_messages, reader.piecewise = stream.json, not stream.json
    reading = reader.run()
    found: list[Any] = []
    answer: Any = None
    act: Callable[[Any], Any] = reading.send
    while True:
        try:
            step = act(answer)
        except StopIteration:
            return found
        act, answer = reading.send, None
        if isinstance(step, list):
            for chunk in step:
                known = len(found)
                found += reader.messages_of(chunk) if stream.json else [chunk.data.decode()]
                # Resuming from here may repeat a part of a page, and leaves nothing out.
                reached = int(chunk.offset) if chunk.offset != "-1" else 0
                if stream.json:
                    behind = len(found) + stream.first
                    assert reached == behind or reached <= known + stream.first
            continue
        try:
            answer = stream.perform(step)
        except Broken as broken:
            act, answer = reading.throw, broken


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of a few bytes come in several parts."""
    monkeypatch.setattr(jsontext, "PART", 64)
    monkeypatch.setattr(jsontext, "HEAD", 8)


def test_parts_are_handed_out_before_the_page_is_whole() -> None:
    stream = Stream(cuts=[WHOLE - 1])
    target = Target.of("http://server.example/s", None, None)
    reader = Reader(target, "-1", False, Retry(), stall_timeout=9.0, on_error=None)
    reader.by_messages = True
    reading, answer = reader.run(), None
    seen: list[Any] = []
    with contextlib.suppress(Broken):
        while True:
            step = reading.send(answer)
            answer = None
            if isinstance(step, list):
                seen += [m for chunk in step for m in reader.messages_of(chunk)]
                assert all(not chunk.up_to_date for chunk in step)
            else:
                answer = stream.perform(step)
    assert seen == MESSAGES[: len(seen)]
    assert len(seen) >= 3


@pytest.mark.parametrize("tagged", [True, False])
def test_json_cut_at_every_byte_comes_once(tagged: bool) -> None:
    for cut in range(WHOLE + 1):
        for again in (0, cut // 2, cut):
            stream = Stream(cuts=[cut, again, cut], tagged=tagged)
            assert read(stream) == MESSAGES
            assert stream.asked == ["-1"] * 4


def test_text_cut_at_every_byte_comes_once() -> None:
    expected = "".join(json.dumps(m, separators=(",", ":")) for m in MESSAGES)
    for cut in range(len(expected) + 1):
        stream = Stream(cuts=[cut, cut // 2, cut], json=False)
        assert "".join(read(stream)) == expected


@pytest.mark.property
@given(
    st.lists(st.integers(0, WHOLE), max_size=6),
    st.lists(st.integers(1, 8), max_size=6),
    st.integers(1, 99),
    st.booleans(),
    st.booleans(),
)
def test_pages_of_changing_length_that_are_cut_anywhere_come_once(
    cuts: list[int], most: list[int], piece: int, as_json: bool, tagged: bool
) -> None:
    """A server may end its page elsewhere when it is asked again."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jsontext, "PART", 64)
        patched.setattr(jsontext, "HEAD", 8)
        stream = Stream(cuts=cuts, most=most, piece=piece, json=as_json, tagged=tagged)
        got = read(stream)
    texts = [json.dumps(m, separators=(",", ":")) for m in MESSAGES]
    assert got == MESSAGES if as_json else "".join(got) == "".join(texts)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("tagged", [True, False])
def test_a_beginning_trimmed_meanwhile_is_told(as_json: bool, tagged: bool) -> None:
    """ "-1" is another place then: to pass over what was handed out would leave others out."""
    told: list[StreamGone] = []
    for cut in range(WHOLE):
        stream = Stream(cuts=[cut], json=as_json, tagged=tagged)
        stream.between = lambda stream: setattr(stream, "first", 3)
        try:
            got = read(stream)
        except StreamGone as gone:
            told.append(gone)
        else:  # nothing had been handed out
            assert got == MESSAGES[3:] if as_json else "".join(got).startswith('{"a":3')
    assert len(told) > WHOLE / 2
    assert "is another one now" in str(told[0])
    assert told[0].url == "http://server.example/s"


@pytest.mark.parametrize("as_json", [True, False])
def test_an_offset_trimmed_meanwhile_is_410(as_json: bool) -> None:
    stream = Stream(cuts=[WHOLE // 2], json=as_json)
    stream.between = lambda stream: setattr(stream, "first", 3)
    with pytest.raises(StreamGone) as gone:
        read(stream, "1")
    assert gone.value.status == 410


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("tagged", [True, False])
def test_a_stream_made_anew_meanwhile_is_told(as_json: bool, tagged: bool) -> None:
    stream = Stream(cuts=[WHOLE // 2], json=as_json, tagged=tagged)

    def made_anew(stream: Stream) -> None:
        stream.messages, stream.number = [f"other {n}" * 20 for n in range(8)], 2

    stream.between = made_anew
    with pytest.raises(StreamGone, match="made anew"):
        read(stream)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_stream_that_has_less_than_before_is_told(as_json: bool) -> None:
    stream = Stream(cuts=[WHOLE // 2], json=as_json)
    stream.between = lambda stream: setattr(stream, "messages", MESSAGES[:1])
    with pytest.raises(StreamGone, match="made anew"):
        read(stream)


def test_a_page_without_an_end_is_not_one() -> None:
    stream = Stream()
    stream.cuts = []
    real = stream._passing

    def short(body: bytes) -> Iterator[bytes]:
        return real(body[:-1])

    stream._passing = short  # type: ignore[method-assign]
    with pytest.raises(ProtocolError, match="not JSON"):
        read(stream)
