"""SIGTERM and Ctrl-C: in order, and in time, whatever the clients do."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

import hpack
import httpx
import pytest
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from conftest import ServerFactory
from listener.clients import H2Client, connect, read_all
from support.server import Server

IN_TIME = 10.0
GRACE = 2.0
TEXT = {"content-type": "text/plain"}
REFUSED_STREAM = (7).to_bytes(4)


@pytest.fixture
def server(server_factory: ServerFactory) -> Server:
    return server_factory("--shutdown-grace", str(GRACE), "--long-poll-timeout", "60")


def put(server: Server, path: str, body: bytes = b"") -> str:
    """Create a stream; its path and query for a read of its tail."""
    answer = httpx.put(f"{server.url}/v1/stream/{path}", headers=TEXT, content=body)
    answer.raise_for_status()
    return f"/v1/stream/{path}?offset={answer.headers['stream-next-offset']}"


def seconds_to_stop(server: Server, *, by: signal.Signals = signal.SIGTERM) -> float:
    began = time.monotonic()
    server.stop(by=by)
    return time.monotonic() - began


def ask(sock: socket.socket, target: str) -> None:
    sock.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once(server: Server, by: signal.Signals) -> None:
    with connect(server.port) as idle, H2Client.to(server.port) as idle_h2:
        ask(idle, "/health")
        idle.recv(65_536)
        idle_h2.wait_status(idle_h2.request(b"GET", b"/health"))
        assert seconds_to_stop(server, by=by) < GRACE


def test_long_polls_are_answered(server: Server) -> None:
    target = put(server, "quiet") + "&live=long-poll"
    with connect(server.port) as first, H2Client.to(server.port) as second:
        ask(first, target)
        stream = second.request(b"GET", target.encode())
        time.sleep(0.3)
        assert seconds_to_stop(server) < GRACE
        answer = read_all(first)
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"stream-next-offset" in answer
        assert second.wait_status(stream) == 204


def test_sse_ends_at_an_event_boundary(server: Server) -> None:
    put(server, "events", b"payload")
    target = "/v1/stream/events?offset=-1&live=sse"
    with connect(server.port) as first, H2Client.to(server.port) as second:
        ask(first, target)
        stream = second.request(b"GET", target.encode())
        time.sleep(0.3)
        assert seconds_to_stop(server) < GRACE
        # The last chunk says that the response is whole, the blank line that its last event is.
        assert read_all(first).endswith(b"\n\n\r\n0\r\n\r\n")
        assert second.wait_end(stream).endswith(b"\n\n")


def test_an_append_in_flight_is_finished(server: Server) -> None:
    put(server, "last")
    with connect(server.port) as sock:
        sock.sendall(
            b"POST /v1/stream/last HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
            b"content-length: 10\r\n\r\nhalf "
        )
        time.sleep(0.3)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.3)
        sock.sendall(b"whole")
        answer = read_all(sock)
        stopping.join()
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"connection: close" in answer.lower()
    server.start()
    assert httpx.get(f"{server.url}/v1/stream/last").content == b"half whole"


def frames(sock: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """The kind, stream and payload of each HTTP/2 frame that comes."""
    buffer = b""
    while piece := sock.recv(65_536):
        buffer += piece
        while len(buffer) >= 9 and len(buffer) >= (end := 9 + int.from_bytes(buffer[:3])):
            yield buffer[3], int.from_bytes(buffer[5:9]), buffer[9:end]
            buffer = buffer[end:]


def test_http_2_clients_are_told_to_go_elsewhere_while_an_upload_is_finished(
    server: Server,
) -> None:
    put(server, "last")
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]
    head += [(":path", "/v1/stream/last"), ("content-type", "text/plain")]
    encoder = hpack.Encoder()

    def opened(stream: int) -> bytes:
        return HeadersFrame(stream, encoder.encode(head), flags=["END_HEADERS"]).serialize()

    with connect(server.port) as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())
        sock.sendall(opened(1) + DataFrame(1, b"half ").serialize())
        time.sleep(0.3)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.1)
        last = 3
        refused: list[int] = []
        lasts: list[int] = []
        sock.sendall(opened(last))
        coming = frames(sock)
        for kind, stream, payload in coming:
            if kind == HeadersFrame.type:
                break
            if kind == RstStreamFrame.type:
                assert payload == REFUSED_STREAM
                refused.append(stream)
                if not lasts:  # It tries again at once.
                    last += 2
                    sock.sendall(opened(last))
            elif kind == PingFrame.type:
                sock.sendall(PingFrame(0, payload, flags=["ACK"]).serialize())
            elif kind == GoAwayFrame.type:
                lasts.append(int.from_bytes(payload[:4]))
                if len(lasts) == 2:
                    sock.sendall(opened(last + 2))
                    sock.sendall(DataFrame(1, b"whole", flags=["END_STREAM"]).serialize())
        assert stream == 1
        assert refused[:1] == [3]
        assert len(refused) <= 3
        assert lasts == [2**31 - 1, last]
        # RFC 9113 section 6.8: whatever was opened behind it.
        lasts += [int.from_bytes(p[:4]) for kind, _, p in coming if kind == GoAwayFrame.type]
        assert lasts == sorted(lasts, reverse=True)
        stopping.join()
    server.start()
    assert httpx.get(f"{server.url}/v1/stream/last").content == b"half whole"


def test_an_upload_over_http_2_is_finished_by_a_client_that_takes_goaway_for_its_end(
    server_factory: ServerFactory,
) -> None:
    server = server_factory("--shutdown-grace", "6")
    put(server, "last")
    stopping = threading.Thread(target=server.stop)

    def body() -> Iterator[bytes]:
        yield b"begin "
        time.sleep(0.3)
        stopping.start()
        for _ in range(15):
            time.sleep(0.1)
            yield b"."
        yield b" end"

    with httpx.Client(http1=False, http2=True, trust_env=False) as client:
        answer = client.post(f"{server.url}/v1/stream/last", headers=TEXT, content=body())
        assert (answer.http_version, answer.status_code) == ("HTTP/2", 204)
        stopping.join()
    server.start()
    assert httpx.get(f"{server.url}/v1/stream/last").content == b"begin " + b"." * 15 + b" end"


def test_what_is_in_flight_over_http_2_is_answered_before_its_connection_is_given_up(
    server: Server,
) -> None:
    put(server, "last")
    target = put(server, "quiet") + "&live=long-poll"
    typed = [(b"content-type", b"text/plain")]
    with H2Client.to(server.port) as client:
        polls = [client.request(b"GET", target.encode()) for _ in range(20)]
        append = client.request(b"POST", b"/v1/stream/last", typed, end=False)
        time.sleep(0.3)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert {client.wait_status(stream) for stream in polls} == {204}
        client.data(append, b"late", end=True)
        assert client.wait_status(append) == 204
        assert client.goaway is None
        stopping.join()


def test_hostile_clients_delay_no_shutdown(server: Server) -> None:
    put(server, "large", bytes(32 << 20))
    quiet = put(server, "quiet")
    with contextlib.ExitStack() as clients:
        for request in (
            b"",
            b"GET /hea",
            b"POST /v1/stream/quiet HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf",
            b"POST /v1/stream/quiet HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n",
            b"GET /v1/stream/large HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /v1/stream/large?offset=-1&live=sse HTTP/1.1\r\nhost: x\r\n\r\n",
            b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 500,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM",
        ):
            clients.enter_context(connect(server.port)).sendall(request)
        many = clients.enter_context(H2Client.to(server.port))
        for _ in range(80):
            many.request(b"GET", f"{quiet}&live=sse".encode())
            many.request(b"POST", b"/v1/stream/quiet", end=False) if _ < 10 else None
        deaf = clients.enter_context(H2Client.to(server.port))
        for _ in range(20):
            deaf.request(b"GET", b"/v1/stream/large")
        time.sleep(0.5)
        assert GRACE <= seconds_to_stop(server) < GRACE + 3


def test_a_second_signal_waits_for_nobody(server_factory: ServerFactory) -> None:
    server = server_factory("--shutdown-grace", "8")
    put(server, "large", bytes(32 << 20))
    with connect(server.port) as deaf:
        ask(deaf, "/v1/stream/large")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        assert seconds_to_stop(server, by=signal.SIGINT) < 3


def test_no_connection_is_accepted_once_stopping(server: Server) -> None:
    put(server, "large", bytes(32 << 20))
    with connect(server.port) as deaf:
        ask(deaf, "/v1/stream/large")
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(ConnectionRefusedError):
            connect(server.port)
        assert server.process.wait(IN_TIME) == 0


def test_what_was_acknowledged_before_is_there_after(server: Server) -> None:
    put(server, "kept")
    with httpx.Client() as client:
        for _ in range(50):
            url = f"{server.url}/v1/stream/kept"
            client.post(url, headers=TEXT, content=b"x").raise_for_status()
    server.stop()
    server.start()
    assert httpx.get(f"{server.url}/v1/stream/kept").content == b"x" * 50
