"""Faults of hypercorn 0.18.0 that one client can cause, and that our listener survives.

Each is shown on plain hypercorn as well, in a process of its own: where a later version has mended
one, its control test fails and says that a guard is no longer needed.
"""

import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, PriorityFrame

from listener.clients import H2Client, connect
from listener.conftest import AppServer, AppServerFactory

SHUTDOWN_GRACE = 1.0


def data_after_an_early_response(port: int) -> None:
    with H2Client.to(port) as client:
        stream = client.request(b"POST", b"/early", end=False)
        assert client.wait_status(stream) == 413
        time.sleep(0.2)
        client.frame(DataFrame(stream, b"still sending"))
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def a_path_beyond_ascii(port: int) -> None:
    with H2Client.to(port) as client:
        try:
            assert client.wait_status(client.request(b"GET", b"/caf\xc3\xa9\xff")) == 404
        except ConnectionError:
            return  # what is no UTF-8 ends a connection to the native listener
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def a_plain_connect(port: int) -> None:
    with H2Client.to(port) as client:
        assert client.wait_status(client.request(b"CONNECT", None)) == 404
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def a_flood_of_priorities(port: int) -> None:
    with H2Client.to(port) as client:
        for stream in range(1, 2401, 2):
            client.frame(PriorityFrame(stream, depends_on=0, stream_weight=1))
        client.h2.highest_outbound_stream_id = 2401
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def a_websocket_with_trailing_bytes(port: int) -> None:
    with connect(port) as sock:
        sock.sendall(
            b"GET /ok HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            b"trailing bytes"
        )
        sock.recv(65_536)
        time.sleep(0.3)


def frames_left_unread(port: int) -> None:
    with H2Client.to(port) as client:
        stream = client.request(b"POST", b"/deaf", end=False)
        for _ in range(30):
            client.data(stream, b"unread")
        assert client.wait_status(client.request(b"GET", b"/ok")) == 200


def many_requests_beside_an_sse_response(port: int) -> None:
    with H2Client.to(port) as client:
        live = client.request(b"GET", b"/sse")
        client.wait_status(live)
        for _ in range(10):
            assert client.wait_status(client.request(b"GET", b"/ok")) == 200
        seen = len(client.bodies[live])
        while len(client.bodies[live]) < seen + 50:
            assert not client.closed
            client.pump()


FAULTS: dict[str, tuple[Callable[[int], None], dict[str, int]]] = {
    "data after an early response": (data_after_an_early_response, {}),
    "a path beyond ASCII": (a_path_beyond_ascii, {}),
    "a plain CONNECT": (a_plain_connect, {}),
    "more than 1,000 PRIORITY frames": (a_flood_of_priorities, {}),
    "a WebSocket upgrade with trailing bytes": (a_websocket_with_trailing_bytes, {}),
    "more than 10 unread DATA frames": (frames_left_unread, {}),
    "keep_alive_max_requests beside an SSE response": (
        many_requests_beside_an_sse_response,
        {"keep_alive_max_requests": 5},
    ),
}


def stands(server: AppServer, attack: Callable[[int], None]) -> bool:
    """Whether the client that misbehaves gets its answers, and its neighbours theirs."""
    try:
        attack(server.port)
    except OSError:
        return False
    return server.serves()


@pytest.mark.parametrize("fault", FAULTS)
def test_one_client_harms_only_itself(app_server: AppServerFactory, ours: str, fault: str) -> None:
    attack, _ = FAULTS[fault]
    assert stands(app_server(ours), attack)


@pytest.mark.parametrize("fault", FAULTS)
def test_plain_hypercorn_has_the_fault(app_server: AppServerFactory, fault: str) -> None:
    attack, options = FAULTS[fault]
    assert not stands(app_server("plain", **options), attack)


def seconds_to_end(server: AppServer, *, at_most: float) -> float:
    """How long the process runs after SIGTERM."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(at_most)
    except subprocess.TimeoutExpired:
        return at_most
    return time.monotonic() - began


def test_a_peer_that_does_not_read_delays_no_shutdown(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours, grace=SHUTDOWN_GRACE)
    with connect(server.port) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.5)
        assert seconds_to_end(server, at_most=10) < SHUTDOWN_GRACE + 1
    assert server.process.returncode == 0


def test_plain_hypercorn_hangs_at_shutdown(app_server: AppServerFactory) -> None:
    server = app_server("plain", graceful_timeout=SHUTDOWN_GRACE)
    with connect(server.port) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.5)
        assert seconds_to_end(server, at_most=5) == 5
