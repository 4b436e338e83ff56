"""Malformed and extreme values of every header and query parameter."""

from dataclasses import dataclass, field

import pytest

from support.cells import ONLY_HTTP1, ONLY_HTTP2

from . import h2_wire
from .conftest import Room

MAX_SAFE = 2**53 - 1
TAIL = "{tail}"  # replaced by the tail of the stream


@dataclass(frozen=True)
class Case:
    """A request that must be refused with `status`, in words that hold each of `says`."""

    name: str
    method: str
    headers: list[tuple[str | bytes, str | bytes]] = field(default_factory=list)
    query: str = ""
    body: bytes | None = None
    status: tuple[int, ...] = (400,)
    says: tuple[str, ...] = ()

    def given(self, path: str, tail: str) -> list[tuple[str | bytes, str | bytes]]:
        """The headers, for a stream."""
        return [
            (name, value.format(path=path, tail=tail) if isinstance(value, str) else value)
            for name, value in self.headers
        ]


def bad_header(method: str, name: str, says: str, *values: str | bytes) -> list[Case]:
    body = b"x" if method == "POST" else None
    shown = [v if isinstance(v, str) else v.hex() for v in values]
    typed: list[tuple[str | bytes, str | bytes]] = [("Content-Type", "text/plain")]
    if name == "Content-Type":
        typed = []
    return [
        Case(
            f"{method} {name}={text[:24]!r}",
            method,
            [*typed, (name, value)],
            body=body,
            says=(says,),
        )
        for text, value in zip(shown, values, strict=True)
    ]


def bad_producer(name: str, *values: str | bytes) -> list[Case]:
    triple = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    return [
        Case(
            f"POST {name}={value[:24]!r}",
            "POST",
            [("Content-Type", "text/plain"), *({**triple, name: value}).items()],
            body=b"x",
            says=(name,),
        )
        for value in values
    ]


TTL = bad_header(
    "PUT", "Stream-TTL", "Stream-TTL",
    "", "-1", "+5", "05", "1.0", "1e3", "abc", "5s", "0x10", "1 2", "5,6", "9" * 40, "5_0",
    b"\xd9\xa3",
)  # fmt: skip
EXPIRES = bad_header(
    "PUT", "Stream-Expires-At", "Stream-Expires-At",
    "", "tomorrow", "1700000000", "2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z",
    "2030-02-30T00:00:00Z", "2030-01-01T25:00:00Z", "12030-01-01T00:00:00Z",
    "2030-01-01T00:00:00Zjunk",
    "2030-01-01T00:00:00+99:99", b"\xff",
)  # fmt: skip
TYPES = bad_header(
    "PUT", "Content-Type", "content type",
    "", "text", "/", "text/", "/plain", "text/plain/x", "te xt/plain", "text/pl ain",
    "a" * 257 + "/b", b"text/\xff",
)  # fmt: skip
PRODUCERS = [
    *bad_producer("Producer-Id", "", "p" * 1025, b"\xff\xfe"),
    *bad_producer(
        "Producer-Epoch",
        "",
        "-1",
        "+1",
        "x",
        "1.0",
        "1e3",
        "00",
        str(MAX_SAFE + 1),
        "9" * 400,
        "0x1",
    ),
    *bad_producer(
        "Producer-Seq",
        "",
        "-1",
        "+1",
        "x",
        "1.0",
        "1e3",
        "00",
        "9" * 400,
        "0x1",
    ),
]
PARTIAL_PRODUCERS = [
    Case(
        f"POST with only {' and '.join(given)}",
        "POST",
        [("Content-Type", "text/plain"), *((name, "0") for name in given)],
        body=b"x",
        says=("Producer-Id", "Producer-Epoch", "Producer-Seq"),
    )
    for given in (
        ["Producer-Id"],
        ["Producer-Epoch"],
        ["Producer-Seq"],
        ["Producer-Id", "Producer-Epoch"],
        ["Producer-Id", "Producer-Seq"],
        ["Producer-Epoch", "Producer-Seq"],
    )
]
SOURCE = ("Stream-Forked-From", "/v1/stream/{path}")
FORKS = [
    *bad_header(
        "PUT", "Stream-Forked-From", "Stream-Forked-From",
        "", "/", "/v1/stream/", "/elsewhere/x", "/v1/stream/%00", "/v1/stream/%ff",
        "/v1/stream/a//b",
        "/v1/stream/../x", "/v1/stream/" + "a" * 1025, b"/v1/stream/\xff",
    ),
    Case("fork of nothing", "PUT", [("Stream-Forked-From", "/v1/stream/no/such")], status=(404,), says=("no/such",)),
    *(
        Case(f"PUT Stream-Fork-Offset={value[:20]!r}", "PUT", [SOURCE, ("Stream-Fork-Offset", value)], says=("fork",))
        for value in ("", "x", "-2", "1_1", "0" * 33, "9" * 16 + "_" + "9" * 16, "0" * 16 + "_" + "9" * 17)
    ),
    *(
        Case(
            f"PUT Stream-Fork-Sub-Offset={value!r}",
            "PUT",
            [SOURCE, ("Stream-Fork-Offset", "0" * 16 + "_" + "0" * 16), ("Stream-Fork-Sub-Offset", value)],
            says=("Sub-Offset",),
        )
        for value in ("", "-1", "+1", "x", "1.0", "1e1", str(2**64), "9" * 100)
    ),
    Case("sub-offset past the append", "PUT",
         [SOURCE, ("Stream-Fork-Offset", "0" * 16 + "_" + "0" * 16), ("Stream-Fork-Sub-Offset", "1000")]),
    Case("sub-offset past the tail", "PUT",
         [SOURCE, ("Stream-Fork-Offset", TAIL), ("Stream-Fork-Sub-Offset", "1")]),
    Case("sub-offset without offset", "PUT", [SOURCE, ("Stream-Fork-Sub-Offset", "1")], says=("Stream-Fork-Offset",)),
    Case("sub-offset without source", "PUT", [("Stream-Fork-Sub-Offset", "0")], says=("Stream-Forked-From",)),
    Case("offset without source", "PUT", [("Stream-Fork-Offset", TAIL)], says=("Stream-Forked-From",)),
]  # fmt: skip
CLASHES = [
    Case("PUT TTL and Expires-At", "PUT",
         [("Stream-TTL", "5"), ("Stream-Expires-At", "2099-01-01T00:00:00Z")],
         says=("Stream-TTL", "Stream-Expires-At")),
    Case("POST without Content-Type", "POST", body=b"x", says=("Content-Type",)),
    Case("POST of another type", "POST", [("Content-Type", "image/png")], body=b"x",
         status=(409,), says=("text/plain", "image/png")),
    Case("POST of nothing", "POST", [("Content-Type", "text/plain")], body=b"", says=("body",)),
    Case("POST of nothing by a producer", "POST",
         [("Content-Type", "text/plain"), ("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "0")],
         body=b"", says=("body",)),
    Case("POST of a gap", "POST",
         [("Content-Type", "text/plain"), ("Producer-Id", "p"), ("Producer-Epoch", "0"), ("Producer-Seq", "7")],
         body=b"x", status=(409,), says=("0", "7")),
    Case("POST of a long Stream-Seq", "POST", [("Content-Type", "text/plain"), ("Stream-Seq", "s" * 1025)],
         body=b"x", status=(400, 413, 429, 431), says=("1024", "1025")),
    Case("POST If-Match of a moved tail", "POST", [("Content-Type", "text/plain"), ("If-Match", '"x:y:z"')],
         body=b"x", status=(400, 412), says=("tail",)),
]  # fmt: skip
READS = [
    *(
        Case(f"GET ?{query[:40]}", "GET", query=query, says=("offset",))
        for query in (
            "offset=", "offset", "offset=abc", "offset=-2", "offset=NOW", "offset=+1",
            "offset=1_1", "offset=0,1",
            "offset=%00", "offset=%ff", "offset=%", "offset=-1&offset=-1", "offset=-1&offset=now",
            "offset=" + "0" * 16 + "_" + "0" * 17, "offset=" + "0" * 16 + "-" + "0" * 16,
            "offset=" + "0" * 16 + "_" + "0" * 15 + "x", "offset=" + "1" * 5000,
            "offset=../../etc",
            "offset=%EF%BC%91", "live=long-poll", "live=sse",
        )
    ),
    *(
        Case(f"GET ?{query}", "GET", query=query, says=("live",))
        for query in (
            "offset=-1&live=", "offset=-1&live=poll", "offset=-1&live=SSE", "offset=-1&live=true",
            "offset=-1&live=sse%00", "offset=-1&live=sse&live=long-poll",
        )
    ),
    *(
        Case(f"GET of what is gone: {offset}", "GET", query=f"offset={offset}", status=(410,), says=("gone",))
        for offset in ("9" * 16 + "_" + "9" * 16, "9" * 16 + "_" + "0" * 16)
    ),
]  # fmt: skip
CASES = [*TTL, *EXPIRES, *TYPES, *PRODUCERS, *PARTIAL_PRODUCERS, *FORKS, *CLASHES, *READS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_value_is_refused_in_words_that_help(room: Room, case: Case) -> None:
    path, tail = room.stream("text/plain", b"one append")
    target = f"/v1/stream/{path}-new" if case.method == "PUT" else f"/v1/stream/{path}"
    reply = room.send(
        case.method,
        f"{target}?{case.query}" if case.query else target,
        case.given(path, tail),
        case.body,
    )
    assert reply.status in case.status, reply
    words = reply.problem().lower()
    for word in case.says:
        assert word.lower() in words
    assert room.content(path) == b"one append"
    assert not room.exists(f"{path}-new")


@ONLY_HTTP2
def test_a_connection_outlives_all_these_refusals(room: Room) -> None:
    path, tail = room.stream("text/plain", b"one append")
    with h2_wire.client(room.url) as client:
        for case in CASES:
            target = f"/v1/stream/{path}-new" if case.method == "PUT" else f"/v1/stream/{path}"
            fields = case.given(path, tail)
            reply = client.ask(case.method, f"{target}?{case.query}", fields, case.body)
            assert reply.status in case.status, (case, reply)
            assert reply.problem()
    assert room.content(path) == b"one append"
    assert not room.exists(f"{path}-new")


HARMLESS = [
    Case("unknown query parameters", "GET", query="offset=-1&foo=bar&x=%ff&=&&a=b=c"),
    Case("cursor that is no number", "GET", query="offset=-1&cursor=abc"),
    Case("cursor beyond any number", "GET", query="offset=-1&cursor=" + "9" * 400),
    Case("If-None-Match that is no tag", "GET", [("If-None-Match", 'W/"x", *junk, "')]),
    Case("Range", "GET", [("Range", "bytes=1-2")]),
    Case("Range that is none", "GET", [("Range", "bytes=9-1,-")]),
    Case("Accept of something else", "GET", [("Accept", "image/*;q=2")]),
    Case("Origin that is none", "GET", [("Origin", b"\xff<script>")]),
    Case("If-Modified-Since that is no date", "GET", [("If-Modified-Since", "never")]),
    Case("Stream-Closed that is not true", "GET", [("Stream-Closed", "maybe")]),
    Case("long unknown header", "GET", [("X-Long", "x" * 8000)]),
]


@pytest.mark.parametrize("case", HARMLESS, ids=lambda case: case.name)
def test_what_the_protocol_ignores_changes_nothing(room: Room, case: Case) -> None:
    path, tail = room.stream("text/plain", b"one append")
    target = f"/v1/stream/{path}" + (f"?{case.query}" if case.query else "")
    reply = room.send(case.method, target, case.headers)
    assert (reply.status, reply.body) == (200, b"one append")
    assert reply.headers["stream-next-offset"] == tail


@pytest.mark.parametrize("method", ["TRACE", "FOO", "get", "PROPFIND", "M" * 60])
def test_an_unknown_method_is_told_the_known_ones(room: Room, method: str) -> None:
    path, _ = room.stream("text/plain", b"x")
    reply = room.send(method, f"/v1/stream/{path}")
    assert reply.status == 405
    allowed = {m.strip() for m in reply.headers["allow"].split(",")}
    assert allowed == {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"}
    assert "GET" in reply.problem()


NOT_HTTP = {
    "no request": b"hello\r\n\r\n",
    "binary": bytes(range(256)) * 8,
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    "no host": b"GET /v1/stream/x HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /v1/stream/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "header name with a space": b"GET /v1/stream/x HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
    "header value with a NUL": b"GET /v1/stream/x HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "content-length is no number": b"POST /v1/stream/x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "content-length is negative": b"POST /v1/stream/x HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "two content-lengths": b"POST /v1/stream/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "unknown transfer-encoding": b"POST /v1/stream/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: rot13\r\n\r\n",
    "chunk size is no number": b"POST /v1/stream/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "endless head": b"GET /v1/stream/x HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
    "raw non-ascii target": b"GET /v1/stream/\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "version 9": b"GET /v1/stream/x HTTP/9.9\r\nHost: a\r\n\r\n",
}


@ONLY_HTTP1
@pytest.mark.parametrize("raw", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_not_http_gets_an_error_or_the_door_but_harms_nobody(
    room: Room, raw: bytes
) -> None:
    with room.connect() as sock:
        try:
            sock.sendall(raw)
            answer = sock.recv(65536)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.split(b" ", 2)[1].startswith((b"4", b"5"))
