"""Bodies over HTTP/1.1, without a connection: whatever way they are cut, the content is the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durastream.client.core.framing import MAX_LINE, Chunked, Sized
from durastream.client.core.steps import Broken


def chunked(*chunks: bytes, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return framed + b"0\r\n" + trailer + b"\r\n"


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    """`text` in pieces, none of them empty."""
    places = sorted({place % len(text) for place in cuts} | {0, len(text)})
    return [text[a:b] for a, b in itertools.pairwise(places) if b > a]


CUTS = st.lists(st.integers(0, 1 << 16), max_size=40)
CHUNKS = st.lists(st.binary(min_size=1, max_size=40) | st.just(b"\r\n0\r\n\r\n"), max_size=8)


@pytest.mark.property
@given(CHUNKS, CUTS, st.sampled_from([b"", b";a=b", b"  ; a"]), st.sampled_from([b"", b"X: y\r\n"]))
def test_chunks_give_their_content_however_they_come(
    chunks: list[bytes], cuts: list[int], extension: bytes, trailer: bytes
) -> None:
    body = Chunked()
    got = [body.feed(p) for p in cut(chunked(*chunks, extension=extension, trailer=trailer), cuts)]
    assert b"".join(got) == b"".join(chunks)
    assert body.ended
    assert body.rest == b""


@pytest.mark.property
@given(CHUNKS, CUTS)
def test_what_has_come_is_handed_out_at_once(chunks: list[bytes], cuts: list[int]) -> None:
    """No event waits for the chunk behind it, nor for the rest of its own."""
    text = chunked(*chunks)
    body, got, passed = Chunked(), b"", 0
    for piece in cut(text, cuts):
        got += body.feed(piece)
        passed += len(piece)
        assert got == content_within(chunks, passed)


def content_within(chunks: list[bytes], passed: int) -> bytes:
    content = b""
    for chunk in chunks:
        passed -= len(b"%x\r\n" % len(chunk))
        content += chunk[: max(0, passed)]
        passed -= len(chunk) + 2
        if passed <= 0:
            break
    return content


@given(CUTS)
def test_what_comes_behind_the_body_is_not_part_of_it(cuts: list[int]) -> None:
    body = Chunked()
    got = b"".join(body.feed(p) for p in cut(chunked(b"abc"), cuts))
    assert (got, body.rest) == (b"abc", b"")
    both = Chunked()
    assert both.feed(chunked(b"abc") + b"HTTP/1.1 200 OK") == b"abc"
    assert both.rest == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "text",
    [
        b"xyz\r\n",
        b"-1\r\n",
        b"0x10\r\n",
        b"1_0\r\n",
        b"\r\n",
        b"5\n",
        b"10000000000000000\r\n",
        b"3\r\nabcdef",
        b"3\r\nabc\n\n",
        b"a" * (MAX_LINE + 1),
        b"0\r\n" + b"t" * (MAX_LINE + 1),
    ],
)
def test_what_is_not_chunked_is_a_broken_answer(text: bytes) -> None:
    with pytest.raises(Broken):
        Chunked().feed(text)
    body = Chunked()
    with pytest.raises(Broken):
        b"".join(body.feed(text[place : place + 1]) for place in range(len(text)))


@pytest.mark.parametrize("body", [Chunked(), Sized(5)])
def test_an_early_end_is_a_broken_answer(body: Chunked | Sized) -> None:
    with pytest.raises(Broken, match="in the middle"):
        body.feed(b"")


def test_a_sized_body_asks_for_no_byte_too_many() -> None:
    body = Sized(1003)
    assert body.wanted == 1003
    assert body.feed(b"x" * 1000) == b"x" * 1000
    assert (body.wanted, body.ended) == (3, False)
    body.feed(b"xyz")
    assert body.ended
