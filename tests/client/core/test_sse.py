"""Event streams without a server: any cut, any line end, any order of lines gives the same chunks."""

import base64
import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream.client.core.sse import EventStream
from durastream.client.errors import ProtocolError
from durastream.client.results import Chunk

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=30
)
BATCHES = st.lists(st.lists(TEXT, max_size=3), min_size=1, max_size=6)


def data_event(text: str, space: str) -> str:
    lines = "".join(f"data:{space}{line}\n" for line in text.split("\n"))
    return f"event: data\n{lines}\n"


def control_event(number: int, **facts: object) -> str:
    return f"event: control\ndata: {json.dumps({'streamNextOffset': f'0_{number}', **facts})}\n\n"


def events(batches: list[list[str]], space: str = " ", between: str = "") -> str:
    return "".join(
        "".join(data_event(text, space) for text in batch) + between + control_event(number)
        for number, batch in enumerate(batches)
    )


def wanted(batches: list[list[str]]) -> list[tuple[bytes, str]]:
    return [("".join(batch).encode(), f"0_{number}") for number, batch in enumerate(batches)]


def fed(raw: bytes, cuts: list[int]) -> list[Chunk]:
    stream = EventStream(base64=False, json=False)
    places = sorted({place % len(raw) for place in cuts} | {0, len(raw)})
    return [chunk for a, b in itertools.pairwise(places) for chunk in stream.feed(raw[a:b])]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=60)


@pytest.mark.property
@given(
    BATCHES,
    CUTS,
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", ": heartbeat\n\n", "event: other\ndata: x\n\n", "id: 7\nretry: 3\n\n"]),
    st.booleans(),
)
def test_any_cut_and_any_line_end_gives_the_same_chunks(
    batches: list[list[str]], cuts: list[int], end: str, between: str, mark: bool
) -> None:
    text = ("\ufeff" if mark else "") + events(batches, between=between)
    # A lone CR at the very end could still become a CRLF: an event more makes the last one whole.
    got = fed((text.replace("\n", end) + f":{end}").encode(), cuts)
    assert [(chunk.data, chunk.offset) for chunk in got] == wanted(batches)


@pytest.mark.property
@given(BATCHES, st.sampled_from(["", "\ufeff"]))
def test_byte_by_byte_is_as_all_at_once(batches: list[list[str]], mark: str) -> None:
    raw = (mark + events(batches)).encode()
    assert fed(raw, list(range(len(raw)))) == fed(raw, [])


def test_one_space_behind_the_colon_is_not_content_a_second_one_is() -> None:
    assert fed(b'event: data\ndata:  two\n\nevent: control\ndata:{"streamNextOffset":"1"}\n\n', [])[
        0
    ].data == (b" two")
    assert fed(b'data:none\nevent:data\n\nevent: control\ndata: {"streamNextOffset":"1"}\n\n', [])[
        0
    ].data == (b"none")


def test_position_comes_from_the_control_event() -> None:
    [chunk] = fed(
        control_event(5, streamCursor="c", upToDate=True, streamClosed=False).encode(), []
    )
    assert chunk == Chunk(b"", "0_5", "c", up_to_date=True, closed=False)
    [closed] = fed(control_event(5, streamClosed=True).encode(), [])
    assert (closed.up_to_date, closed.closed) == (True, True)


def test_data_waits_for_the_control_event_behind_it() -> None:
    stream = EventStream(base64=False, json=False)
    assert stream.feed(b"event: data\ndata: half\n\n") == []
    [chunk] = stream.feed(control_event(1).encode())
    assert chunk.data == b"half"


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4), CUTS)
def test_base64_gives_every_byte(payloads: list[bytes], cuts: list[int]) -> None:
    stream = EventStream(base64=True, json=False)
    raw = "".join(data_event(base64.b64encode(p).decode(), " ") for p in payloads)
    raw += control_event(1)
    encoded = raw.encode()
    places = sorted({place % len(encoded) for place in cuts} | {0, len(encoded)})
    got = [c for a, b in itertools.pairwise(places) for c in stream.feed(encoded[a:b])]
    assert [chunk.data for chunk in got] == [b"".join(payloads)]


def test_several_arrays_of_json_become_one() -> None:
    stream = EventStream(base64=False, json=True)
    raw = data_event("[1,2]", " ") + data_event("[]", " ") + data_event("[3]", " ")
    [chunk] = stream.feed((raw + control_event(1)).encode())
    assert chunk.json() == [1, 2, 3]


def test_comments_are_counted_as_signs_of_life() -> None:
    stream = EventStream(base64=False, json=False)
    stream.feed(b": a\n\n: b\n\n")
    assert stream.heartbeats == 2


@pytest.mark.parametrize("text", ["", "nothing", "[]", "{}", '{"streamNextOffset": 7}'])
def test_a_control_event_that_says_no_position_is_an_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        fed(f"event: control\ndata: {text}\n\n".encode(), [])


def test_an_event_without_end_is_an_error_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("durastream.client.core.sse.MAX_EVENT", 100)
    with pytest.raises(ProtocolError, match="100 bytes"):
        fed(b"data: " + b"x" * 200, [])


def test_a_large_event_costs_no_more_than_its_size() -> None:
    """In pieces as a connection gives them; searched anew for each, it took a minute."""
    stream = EventStream(base64=False, json=False)
    piece = b"x" * 1_000
    began = time.process_time()
    stream.feed(b"event: data\ndata: ")
    for _ in range(20_000):
        stream.feed(piece)
    [chunk] = stream.feed(b"\n\n" + control_event(1).encode())
    assert len(chunk.data) == 20_000_000
    assert time.process_time() - began < 2
