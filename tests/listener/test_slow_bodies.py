"""Bodies that trickle in, a byte at a time: never silent, and never done."""

import contextlib
import json
import time
from collections.abc import Iterator

import httpx
import pytest

from conftest import ServerFactory
from listener.clients import H2Client, connect, read_all
from support.server import Server

TEXT = {"content-type": "text/plain"}
STALL = 0.5


@pytest.fixture
def server(server_factory: ServerFactory) -> Server:
    server = server_factory("--stall-timeout", f"{STALL}", "--min-body-rate", "1000")
    httpx.put(f"{server.url}/v1/stream/a", headers=TEXT, trust_env=False).raise_for_status()
    return server


def test_over_http_1_it_is_given_up_and_nothing_is_written(server: Server, listener: str) -> None:
    began = time.monotonic()
    with connect(server.port, timeout=0.1) as sock:
        sock.sendall(
            b"POST /v1/stream/a HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
            b"content-length: 9000\r\n\r\n"
        )
        answer = None
        while answer is None:
            assert time.monotonic() - began < 6
            sock.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = read_all(sock)
    assert time.monotonic() - began > STALL
    if listener == "native":
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"content-type: application/problem+json" in head
        assert "at least 1000 bytes per second" in json.loads(body)["detail"]
    else:
        assert answer == b""
    assert httpx.get(f"{server.url}/v1/stream/a", trust_env=False).content == b""


def test_what_came_fast_does_not_buy_time_for_the_rest(server: Server, listener: str) -> None:
    began = time.monotonic()
    with connect(server.port, timeout=0.1) as sock:
        sock.sendall(
            b"POST /v1/stream/a HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
            b"content-length: 1000000\r\n\r\n" + bytes(900_000)
        )
        answer = None
        while answer is None:
            assert time.monotonic() - began < 12 * STALL
            sock.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answer = read_all(sock)
    assert time.monotonic() - began > 2 * STALL
    assert answer.startswith(b"HTTP/1.1 408 ") if listener == "native" else answer == b""


def test_a_body_that_nobody_reads_holds_up_no_other(server: Server) -> None:
    with H2Client.to(server.port) as client:
        # With its answer come the windows.
        assert client.wait_status(client.request(b"HEAD", b"/v1/stream/a")) == 200
        query = b"/v1/stream/a?offset=-1&live=long-poll"
        for _ in range(10):  # more than the window of a connection, in windows of its streams
            read = client.request(b"GET", query, end=False)
            while size := min(client.h2.local_flow_control_window(read), 16_384):
                client.data(read, bytes(size))
        client.sock.settimeout(5)
        post = client.request(
            b"POST", b"/v1/stream/a", [(b"content-type", b"text/plain")], end=False
        )
        while client.h2.local_flow_control_window(post) < 1000:
            client.pump()
        client.data(post, b"y" * 1000, end=True)
        assert client.wait_status(post) == 204


def test_over_http_2_it_is_given_up_and_its_neighbours_go_on(server: Server, listener: str) -> None:
    began = time.monotonic()
    with H2Client.to(server.port) as client:
        client.sock.settimeout(0.1)
        typed = [(b"content-type", b"text/plain")]
        slow = client.request(b"POST", b"/v1/stream/a", typed, end=False)
        while slow not in client.statuses and slow not in client.resets:
            assert time.monotonic() - began < 6
            client.data(slow, b"x")
            with contextlib.suppress(TimeoutError):
                client.pump()
        assert time.monotonic() - began > STALL
        assert client.statuses.get(slow) == (408 if listener == "native" else None)
        client.sock.settimeout(5)
        assert client.wait_status(client.request(b"HEAD", b"/v1/stream/a")) == 200
    assert httpx.get(f"{server.url}/v1/stream/a", trust_env=False).content == b""


def uploads(client: H2Client, count: int) -> list[int]:
    """Appends that have begun, once their windows are there."""
    assert client.wait_status(client.request(b"HEAD", b"/v1/stream/a")) == 200
    typed = [(b"content-type", b"text/plain")]
    return [client.request(b"POST", b"/v1/stream/a", typed, end=False) for _ in range(count)]


def send_slowly(client: H2Client, bodies: list[int], size: int, seconds: float) -> None:
    """So many bytes of each, again and again; ends early when one of them is over."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for body in bodies:
            client.data(body, b"x" * size)
        client.sock.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            client.pump()
        if client.statuses.keys() & set(bodies) or client.resets:
            break
    client.sock.settimeout(5)


def test_bodies_that_share_a_link_are_late_only_together(server: Server, listener: str) -> None:
    with H2Client.to(server.port) as client:
        bodies = uploads(client, 40)
        # Each comes with 240 bytes per second, all of them with ten times the least rate.
        send_slowly(client, bodies, 12, 6 * STALL)
        for body in bodies:
            client.data(body, b"y", end=True)
        assert {client.wait_status(body) for body in bodies} == {204}
        # With 200 all together.
        bodies = uploads(client, 10)
        began = time.monotonic()
        send_slowly(client, bodies, 1, 12 * STALL)
        assert STALL < time.monotonic() - began < 10 * STALL
        if listener == "native":
            assert {client.wait_status(body) for body in bodies} == {408}


def test_a_body_waits_while_others_of_its_connection_fill_the_link(server: Server) -> None:
    with H2Client.to(server.port) as client:
        first, second = uploads(client, 2)
        send_slowly(client, [first], 500, 6 * STALL)
        for body in (first, second):
            client.data(body, b"y", end=True)
            assert client.wait_status(body) == 204


def test_a_body_that_stays_away_is_given_up_whatever_its_neighbours_do(
    server_factory: ServerFactory, listener: str
) -> None:
    server = server_factory("--stall-timeout", "0.1", "--min-body-rate", "100")
    httpx.put(f"{server.url}/v1/stream/a", headers=TEXT, trust_env=False).raise_for_status()
    with H2Client.to(server.port) as client:
        away, coming = uploads(client, 2)
        client.data(away, b"x" * 1000)
        began = time.monotonic()
        send_slowly(client, [coming], 100, 6)
        assert 1 < time.monotonic() - began < 5
        if listener == "native":
            assert client.statuses[away] == 408
        else:
            assert client.resets.keys() == {away}
        client.data(coming, b"y", end=True)
        assert client.wait_status(coming) == 204


def test_a_body_that_trickles_in_is_given_up_whatever_its_neighbours_do(
    server_factory: ServerFactory, listener: str
) -> None:
    server = server_factory("--stall-timeout", "0.2", "--min-body-rate", "1000")
    httpx.put(f"{server.url}/v1/stream/a", headers=TEXT, trust_env=False).raise_for_status()
    with H2Client.to(server.port) as client:
        trickling, *sharing = bodies = uploads(client, 11)
        client.data(trickling, b"x" * 9000)
        # Each of the others is below the least rate, too, but has its part of what the link takes.
        began = time.monotonic()
        while (
            time.monotonic() - began < 12
            and not client.resets.keys() | client.statuses.keys() & set(bodies)
        ):
            client.data(trickling, b"x")
            send_slowly(client, sharing, 40, 0.05)
        assert 3 < time.monotonic() - began < 10
        assert client.resets.keys() <= {trickling}
        assert client.statuses.get(trickling) == (408 if listener == "native" else None)
        for body in sharing:
            client.data(body, b"y", end=True)
        assert {client.wait_status(body) for body in sharing} == {204}


def test_a_body_that_is_fast_enough_is_taken(server: Server) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(10):
            yield b"x" * 400
            time.sleep(STALL / 4)

    answer = httpx.post(
        f"{server.url}/v1/stream/a", headers=TEXT, content=pieces(), trust_env=False
    )
    assert answer.status_code == 204
    assert len(httpx.get(f"{server.url}/v1/stream/a", trust_env=False).content) == 4000
