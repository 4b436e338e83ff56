"""Frames that HTTP/2 allows, or nearly: each ends its own stream or connection at most, and costs bounded memory."""

import contextlib
import resource
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import hpack
import httpx
import pytest

from durastream.settings import LISTENERS
from listener.clients import connect
from support.server import Server

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0,
    1,
    3,
    4,
    6,
    7,
    8,
    9,
)
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# In HPACK: the method and http of the static table, :path and :authority as literals.
REST = b"\x86\x44\x0c/v1/stream/a\x41\x01x"
GET, POST = b"\x82" + REST, b"\x83" + REST + b"\x5f\x0atext/plain"
MEMORY = 48 << 20


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def repeated(piece: bytes, size: int) -> bytes:
    return piece * (size // len(piece))


def literal(name: bytes, value: bytes) -> bytes:
    """A field without indexing, names and values below 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def resets() -> bytes:
    """Rapid reset (CVE-2023-44487): requests that are taken back at once."""
    pairs = (
        frame(HEADERS, END_HEADERS | END_STREAM, n, GET) + frame(RST_STREAM, 0, n, b"\0\0\0\x08")
        for n in range(1, 60_000, 2)
    )
    return b"".join(pairs)


def bomb() -> bytes:
    """A field of 4 KB in the dynamic table, then references to it: 16 KB become 64 MB."""
    first = b"\x40" + b"\x01x" + b"\x7f\x81\x1e" + b"y" * 3968
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, (GET + first + b"\xbe" * 16_000)[:16_384])


# What is sent behind the preface; whether the connection must end by it.
FLOODS: dict[str, tuple[bytes, bool]] = {
    "CONTINUATION without end (CVE-2024-27316)": (
        frame(HEADERS, END_STREAM, 1, GET)
        + repeated(frame(CONTINUATION, 0, 1, literal(b"x", b"y" * 100) * 100), 64 << 20),
        True,
    ),
    "CONTINUATION, empty": (
        frame(HEADERS, END_STREAM, 1, GET) + repeated(frame(CONTINUATION, 0, 1), 4 << 20),
        True,
    ),
    "PING": (repeated(frame(PING, 0, 0, bytes(8)), 16 << 20), False),
    "SETTINGS": (repeated(frame(SETTINGS, 0, 0, b"\0\x04\0\0\xff\xff"), 8 << 20), False),
    "empty DATA": (
        frame(HEADERS, END_HEADERS, 1, POST) + repeated(frame(DATA, 0, 1), 4 << 20),
        False,
    ),
    "reset": (resets(), False),
    "a field that grows": (bomb(), False),
}

# A frame that is an error (RFC 9113), and that of its stream or its connection.
ERRORS: dict[str, tuple[bytes, str]] = {
    "a window beyond 2^31": (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, "connection"),
    "a window that grows by nothing": (frame(WINDOW_UPDATE, 0, 0, bytes(4)), "connection"),
    "DATA on a stream that never was": (frame(DATA, 0, 5, b"x"), "connection"),
    "HEADERS on stream 0": (frame(HEADERS, END_HEADERS | END_STREAM, 0, GET), "connection"),
    "HEADERS on an even stream": (frame(HEADERS, END_HEADERS | END_STREAM, 2, GET), "connection"),
    "PING of 7 bytes": (frame(PING, 0, 0, bytes(7)), "connection"),
    "SETTINGS of 5 bytes": (frame(SETTINGS, 0, 0, bytes(5)), "connection"),
    "a frame over the limit": (frame(DATA, 0, 1, bytes(1 << 20)), "connection"),
    "an index beyond the table": (frame(HEADERS, 5, 1, b"\xff\xff\x03"), "connection"),
    "PING between HEADERS and CONTINUATION": (
        frame(HEADERS, END_STREAM, 1, GET) + frame(PING, 0, 0, bytes(8)),
        "connection",
    ),
    "no :method": (frame(HEADERS, 5, 1, GET[1:]), "stream"),
    "no :path": (frame(HEADERS, 5, 1, b"\x82\x86\x41\x01x"), "stream"),
    "two :path": (frame(HEADERS, 5, 1, GET + b"\x84"), "stream"),
    "an unknown pseudo field": (frame(HEADERS, 5, 1, GET + literal(b":who", b"x")), "stream"),
    "a pseudo field behind others": (
        frame(HEADERS, 5, 1, b"\x82" + literal(b"a", b"b") + REST),
        "stream",
    ),
    ":status of a client": (frame(HEADERS, 5, 1, GET + b"\x88"), "stream"),
    "a name in upper case": (frame(HEADERS, 5, 1, GET + literal(b"X", b"y")), "stream"),
    "Connection": (frame(HEADERS, 5, 1, GET + literal(b"connection", b"close")), "stream"),
    "Transfer-Encoding": (
        frame(HEADERS, 5, 1, GET + literal(b"transfer-encoding", b"chunked")),
        "stream",
    ),
    "a value with a line end": (frame(HEADERS, 5, 1, GET + literal(b"a", b"b\r\nc: d")), "stream"),
    "a body longer than said": (
        frame(HEADERS, 4, 1, POST + literal(b"content-length", b"3")) + frame(DATA, 1, 1, b"1234"),
        "stream",
    ),
    "a body shorter than said": (
        frame(HEADERS, 4, 1, POST + literal(b"content-length", b"9")) + frame(DATA, 1, 1, b"1234"),
        "stream",
    ),
}


@pytest.fixture(scope="module", params=LISTENERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One of each listener for all of them: nothing may end it."""
    data = tmp_path_factory.mktemp("hostile") / "data"
    server = Server(data, ("--listener", str(request.param)))
    server.start()
    url = f"{server.url}/v1/stream/a"
    httpx.put(url, headers={"content-type": "text/plain"}, trust_env=False).raise_for_status()
    yield server
    assert httpx.get(url, trust_env=False).content == b""
    server.close()


def rss(server: Server) -> int:
    told = Path(f"/proc/{server.process.pid}/statm").read_text()
    return int(told.split()[1]) * resource.getpagesize()


def serves(server: Server) -> bool:
    """Another client is answered, over the same version."""
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=5) as client:
        return client.head(f"{server.url}/v1/stream/a").status_code == 200


def flood(server: Server, raw: bytes) -> bool:
    """Send what of it is taken within 1.5 s, read nothing meanwhile; whether the connection ended."""
    with connect(server.port, timeout=0.3) as sock:
        left, until = memoryview(PREFACE + frame(SETTINGS, 0, 0) + raw), time.monotonic() + 1.5
        try:
            while left and time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    left = left[sock.send(left[: 1 << 16]) :]
            assert serves(server)
            while sock.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_costs_bounded_memory_and_harms_no_other(server: Server, name: str) -> None:
    raw, ends = FLOODS[name]
    before = rss(server)
    ended = flood(server, raw)
    assert rss(server) - before < MEMORY
    assert ended or not ends
    assert serves(server)


def outcome(server: Server, raw: bytes) -> str:
    """What becomes of stream 1: a status, `reset`, or the end of the connection."""
    with connect(server.port) as sock, contextlib.suppress(ConnectionError):
        sock.sendall(PREFACE + frame(SETTINGS, 0, 0) + raw)
        received = b""
        while piece := sock.recv(1 << 16):
            received += piece
            while len(received) >= 9 + (size := int.from_bytes(received[:3])):
                kind, stream = received[3], int.from_bytes(received[5:9])
                payload, received = received[9 : 9 + size], received[9 + size :]
                if kind == GOAWAY and int.from_bytes(payload[4:8]):
                    return "connection"
                if kind == RST_STREAM and stream == 1:
                    return "reset"
                if kind == HEADERS and stream == 1:
                    fields = {str(k): str(v) for k, v in hpack.Decoder().decode(payload)}
                    return fields[":status"]
    return "connection"


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_ends_its_stream_or_its_connection_only(server: Server, name: str) -> None:
    raw, scope = ERRORS[name]
    found = outcome(server, raw)
    # A connection may always end by it (RFC 9113 section 5.4), and a refusal is an answer, too.
    allowed = {"connection"} if scope == "connection" else {"connection", "reset", "400"}
    assert found in allowed
    assert serves(server)
