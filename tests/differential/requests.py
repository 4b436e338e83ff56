"""Several hundred requests, made from tables: methods x headers x states of a stream.

They are sent in order to servers that have seen nothing else, so that every stream has the same number,
and every offset is the same text, on each.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

TEXT = "text/plain"
JSON = "application/json"
BYTES = "application/octet-stream"
START = "0000000000000000_0000000000000000"
FAR = "0000000000000003_0000000000099999"
FOREIGN = "0000000000009999_0000000000000001"
Headers = dict[str, str]


@dataclass(frozen=True)
class Ask:
    """One request. `{etag}` in a header's value is that of the last answer that had one."""

    method: str
    target: str
    headers: Headers = field(default_factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.headers} {self.body[:40]!r}"


def stream(path: str, query: str = "") -> str:
    return f"/v1/stream/{path}" + (f"?{query}" if query else "")


def producer(identity: str, epoch: object, sequence: object) -> Headers:
    return {
        "producer-id": identity,
        "producer-epoch": str(epoch),
        "producer-seq": str(sequence),
    }


def of(content_type: str, **more: str) -> Headers:
    fields = {name.replace("_", "-"): value for name, value in more.items()}
    return {"content-type": content_type, **fields}


STATES = (
    "text",
    "json",
    "bytes",
    "empty",
    "closed",
    "forked",
    "softly",
    "retained",
    "gone",
    "never",
)


def states() -> Iterator[Ask]:
    """Makes a stream in each state."""
    yield Ask("PUT", stream("text"), of(TEXT), b"first ")
    yield Ask("POST", stream("text"), of(TEXT), b"second")
    yield Ask("PUT", stream("json"), of(JSON), b'[{"a": 1}, {"b": [2, 3]}]')
    yield Ask("POST", stream("json"), of(JSON), b'{"c": "\xc3\xa9"}')
    yield Ask("PUT", stream("bytes"), of(BYTES), bytes(range(256)))
    yield Ask("PUT", stream("empty"), of(TEXT))
    yield Ask("PUT", stream("closed"), of(TEXT, stream_closed="true"), b"all of it")
    yield Ask("PUT", stream("forked"), of(TEXT, stream_forked_from=stream("text")))
    yield Ask("PUT", stream("softly"), of(TEXT), b"under a fork")
    yield Ask("PUT", stream("above"), of(TEXT, stream_forked_from=stream("softly")))
    yield Ask("DELETE", stream("softly"))
    yield Ask("PUT", stream("retained"), of(TEXT, stream_retention_seconds="3600"), b"old")
    yield Ask("POST", stream("retained"), of(TEXT), b"new")
    yield Ask("PUT", stream("gone"), of(TEXT), b"was here")
    yield Ask("DELETE", stream("gone"))


READS = (
    "", "offset=-1", "offset=now", f"offset={START}", f"offset={FAR}", f"offset={FOREIGN}",
    "offset=0000000000000001_0000000000000006", "offset=nonsense", "offset=", "offset=-1&offset=-1",
    "offset=%2D1", "offset=-1&unknown=1", "live=long-poll", "offset=-1&live=long-poll",
    "offset=now&live=long-poll", "offset=now&live=long-poll&cursor=17", "offset=-1&live=sse",
    "offset=now&live=sse", "offset=-1&live=yes", "offset=-1&live=", "live=sse",
)  # fmt: skip


def reads() -> Iterator[Ask]:
    for state in STATES:
        for query in READS:
            yield Ask("GET", stream(state, query))
        yield Ask("HEAD", stream(state))
        yield Ask("HEAD", stream(state, "offset=-1"))
    for state in ("text", "json", "closed", "forked"):
        yield Ask("GET", stream(state, "offset=-1"))
        yield Ask("GET", stream(state, "offset=-1"), {"if-none-match": "{etag}"})
        yield Ask("GET", stream(state, "offset=-1"), {"if-none-match": 'W/"x", {etag}'})
        yield Ask("GET", stream(state, "offset=-1"), {"if-none-match": "*"})
        yield Ask("GET", stream(state, "offset=-1"), {"if-none-match": '"other"'})
        yield Ask("HEAD", stream(state), {"if-none-match": "{etag}"})
    yield Ask("GET", stream("text", "offset=-1"), {"authorization": "Bearer x"})
    yield Ask("GET", stream("text", "offset=-1"), {"range": "bytes=0-1"})


APPENDS: tuple[tuple[Headers, bytes], ...] = (
    (of(TEXT), b"more"),
    (of(TEXT), b""),
    (of(JSON), b'{"d": 4}'),
    (of(JSON), b"[]"),
    (of(JSON), b"[1, 2,"),
    (of(JSON), b'{"a": 1} trailing'),
    (of(BYTES), b"\x00\xff"),
    (of("TEXT/Plain; charset=utf-8"), b"typed"),
    (of("nonsense"), b"x"),
    ({}, b"untyped"),
    (of(TEXT, stream_seq="b"), b"seq b"),
    (of(TEXT, stream_seq="b"), b"seq b again"),
    (of(TEXT, stream_seq="a"), b"seq a"),
    (of(TEXT, stream_seq=""), b"no seq"),
    ({**of(TEXT), **producer("p", 0, 0)}, b"p0"),
    ({**of(TEXT), **producer("p", 0, 0)}, b"p0"),
    ({**of(TEXT), **producer("p", 0, 5)}, b"p5"),
    ({**of(TEXT), **producer("p", 1, 0)}, b"epoch 1"),
    ({**of(TEXT), **producer("p", 0, 1)}, b"stale"),
    ({**of(TEXT), **producer("p", 2, 7)}, b"epoch 2 does not begin"),
    ({**of(TEXT), **producer("", 0, 0)}, b"nobody"),
    ({**of(TEXT), **producer("q", -1, 0)}, b"negative"),
    ({**of(TEXT), **producer("q", "x", "y")}, b"words"),
    ({**of(TEXT), "producer-id": "q"}, b"alone"),
    ({**of(TEXT), "stream-closed": "maybe"}, b"unclear"),
    ({**of(TEXT), "stream-closed": "false"}, b"open"),
    ({"content-encoding": "gzip", **of(TEXT)}, b"zipped"),
)
CLOSES: tuple[tuple[Headers, bytes], ...] = (
    ({**of(TEXT), **producer("last", 0, 0), "stream-closed": "true"}, b"the end"),
    ({**of(TEXT), **producer("last", 0, 0), "stream-closed": "true"}, b"the end"),
    ({"stream-closed": "true"}, b""),
    (of(TEXT), b"too late"),
)


def appends() -> Iterator[Ask]:
    for state in STATES:
        for headers, body in APPENDS:
            yield Ask("POST", stream(state), headers, body)
        yield Ask("GET", stream(state, "offset=-1"))


CREATES: tuple[tuple[Headers, bytes], ...] = (
    (of(TEXT), b""),
    (of(TEXT), b"content"),
    (of(JSON), b"[1, 2]"),
    (of(JSON), b"{"),
    (of(JSON), b"[]"),
    (of("text / html"), b""),
    ({}, b""),
    (of(TEXT, stream_ttl="3600"), b""),
    (of(TEXT, stream_ttl="0"), b""),
    (of(TEXT, stream_ttl="1e3"), b""),
    (of(TEXT, stream_ttl="-5"), b""),
    (of(TEXT, stream_ttl="03600"), b""),
    (of(TEXT, stream_expires_at="2999-01-01T00:00:00Z"), b""),
    (of(TEXT, stream_expires_at="yesterday"), b""),
    (of(TEXT, stream_expires_at="2001-01-01T00:00:00Z"), b""),
    (of(TEXT, stream_ttl="5", stream_expires_at="2999-01-01T00:00:00Z"), b""),
    (of(TEXT, stream_closed="true"), b"closed at birth"),
    (of(TEXT, stream_closed="no"), b""),
    (of(TEXT, stream_forked_from=stream("text")), b""),
    (of(TEXT, stream_forked_from=stream("text"), stream_fork_offset=START), b""),
    (of(TEXT, stream_forked_from=stream("text"), stream_fork_offset=FAR), b""),
    (of(TEXT, stream_forked_from=stream("text"), stream_fork_offset="x"), b""),
    (of(JSON, stream_forked_from=stream("text")), b""),
    (of(TEXT, stream_forked_from=stream("never")), b""),
    (of(TEXT, stream_forked_from=stream("softly")), b""),
    (of(TEXT, stream_forked_from="nonsense"), b""),
    (of(TEXT, stream_fork_offset=START), b""),
    (of(TEXT, stream_retention_events="0"), b""),
    (of(TEXT, stream_retention_bytes="100", stream_retention_seconds="60"), b""),
    (of(TEXT, stream_retention_bytes="many"), b""),
)


def creates() -> Iterator[Ask]:
    for number, (headers, body) in enumerate(CREATES):
        path = f"made/{number}"
        yield Ask("PUT", stream(path), headers, body)
        yield Ask("PUT", stream(path), headers, body)
        yield Ask("HEAD", stream(path))
        yield Ask("PUT", stream("closed"), headers, body)


PATHS = (
    "/", "/v1", "/v1/stream", "/v1/stream/", "/v1/streams/text", "/v1/stream//", "/v1/stream/a//b",
    "/v1/stream/./a", "/v1/stream/a/../b", "/v1/stream/%2e%2e", "/v1/stream/a%2Fb", "/v1/stream/%00",
    "/v1/stream/%zz", "/v1/stream/%ff", "/v1/stream/" + "x" * 1025, "/v1/stream/sp%20ace",
    "/v1/stream/__ds/subscriptions/x", "/v1/stream/__other", "/v1/stream/text/", "/V1/stream/text",
    "/health", "/ready", "/health?x=1", "/%68ealth", "/__durastream/streams",
    "/__durastream/streams?limit=2", "/__durastream/streams?limit=x", "/__durastream/none", "/favicon.ico",
)  # fmt: skip


def paths() -> Iterator[Ask]:
    for path in PATHS:
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"):
            yield Ask(method, path, of(TEXT) if method in ("PUT", "POST") else {}, b"")
    for method in ("PATCH", "TRACE", "LINK", "get", "PROPFIND"):
        yield Ask(method, stream("text"))
        yield Ask(method, "/health")


def origins() -> Iterator[Ask]:
    foreign = {"origin": "https://example.org"}
    asks = {**foreign, "access-control-request-method": "POST"}
    for path in (stream("text"), stream("never"), "/health", "/elsewhere"):
        yield Ask("OPTIONS", path, asks)
        yield Ask("OPTIONS", path, {**asks, "access-control-request-headers": "producer-id, x"})
        yield Ask("GET", path, foreign)
        yield Ask("GET", path, {"origin": "null"})


def configurations() -> Iterator[Ask]:
    # Larger than anything here: when a limit trims is not told to the moment.
    for value in ("1000000", "none", "0", "x", ""):
        for name in (
            "stream-retention-events",
            "stream-retention-bytes",
            "stream-retention-seconds",
        ):
            yield Ask("PATCH", stream("text"), {name: value})
    yield Ask("PATCH", stream("never"), {"stream-retention-events": "1"})
    yield Ask("PATCH", stream("text"))


def endings() -> Iterator[Ask]:
    for state in STATES:
        for headers, body in CLOSES:
            yield Ask("POST", stream(state), headers, body)
        yield Ask("GET", stream(state, "offset=-1&live=sse"))
        yield Ask("GET", stream(state, "offset=now&live=long-poll"))
    for state in (*STATES, *STATES):
        yield Ask("DELETE", stream(state))
        yield Ask("PUT", stream(state), of(TEXT), b"again")
        yield Ask("GET", stream(state, f"offset={FOREIGN}"))
        yield Ask("GET", stream(state, "offset=0000000000000001_0000000000000006"))


def everything() -> list[Ask]:
    """All of it, in order."""
    parts = (states, reads, creates, paths, origins, appends, configurations, endings)
    return [ask for part in parts for ask in part()]
