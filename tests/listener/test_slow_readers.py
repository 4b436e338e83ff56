"""Clients that ask for much and read little cost bounded memory, for a bounded time."""

import contextlib
import time

from listener.clients import H2Client, connect
from listener.conftest import AppServer, AppServerFactory

ASK_BIG = b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n"
READERS = 20
MIB = 1 << 20


def settled_rss(server: AppServer) -> int:
    """Resident memory once it does not grow any more."""
    before, now = 0, server.rss()
    while now > before:
        time.sleep(0.3)
        before, now = now, server.rss()
    return now


def test_readers_that_never_read_cost_bounded_memory(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    assert server.serves()
    before = server.rss()
    with contextlib.ExitStack() as clients:
        for _ in range(READERS):
            clients.enter_context(connect(server.port)).sendall(ASK_BIG)
        assert settled_rss(server) - before < READERS * MIB
        assert server.serves()


def test_streams_that_are_never_read_cost_bounded_memory(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours)
    assert server.serves()
    before = server.rss()
    with H2Client.to(server.port) as client:
        for _ in range(READERS):
            client.request(b"GET", b"/big")
        assert settled_rss(server) - before < READERS * MIB
        assert server.serves()


def test_a_connection_that_is_not_read_is_dropped(app_server: AppServerFactory, ours: str) -> None:
    server = app_server(ours, stall=0.5)
    assert server.serves()
    time.sleep(0.3)
    idle = server.descriptors()
    with connect(server.port) as deaf:
        deaf.sendall(ASK_BIG)
        time.sleep(0.2)
        assert server.descriptors() > idle
        time.sleep(1.5)
        assert server.descriptors() == idle


def test_a_stream_that_is_not_read_is_reset_and_its_neighbour_goes_on(
    app_server: AppServerFactory,
    ours: str,
) -> None:
    server = app_server(ours, stall=0.5)
    with H2Client.to(server.port) as client:
        live = client.request(b"GET", b"/sse")
        deaf = client.request(b"GET", b"/big")
        # The client takes what comes, but opens windows for the connection only.
        while deaf not in client.resets:
            before = len(client.bodies.get(deaf, b""))
            client.pump(credit=False)
            grown = len(client.bodies.get(deaf, b"")) - before
            if grown:
                client.h2.increment_flow_control_window(grown)
                client.flush()
        seen = len(client.bodies[live])
        while len(client.bodies[live]) < seen + 20:
            client.pump()


def test_a_slow_reader_that_reads_is_served_to_the_end(
    app_server: AppServerFactory, ours: str
) -> None:
    server = app_server(ours, stall=1.5)
    with connect(server.port) as sock:
        sock.sendall(ASK_BIG)
        read = 0
        for _ in range(8):
            time.sleep(0.3)
            end = read + MIB
            while read < end:
                read += len(sock.recv(65_536))
        while read < 256 * MIB:
            piece = sock.recv(1 << 20)
            assert piece
            read += len(piece)


def test_clients_that_reset_what_they_ask_for_cost_bounded_memory(
    app_server: AppServerFactory,
    ours: str,
) -> None:
    server = app_server(ours)
    assert server.serves()
    before = server.rss()
    with H2Client.to(server.port) as client, contextlib.suppress(ConnectionError):
        for _ in range(3_000):
            stream = client.request(b"GET", b"/sse")
            client.h2.reset_stream(stream)
            client.flush()
    assert server.rss() - before < 32 * MIB
    assert server.serves()
