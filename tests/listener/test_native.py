"""`serve --listener native`: what the command adds to the listener that the Rust tests cover."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from conftest import ServerFactory
from support.server import COMMAND, Server

NATIVE = ("--listener", "native")


@pytest.fixture
def listener() -> str:
    return "native"


def test_it_serves_and_keeps_what_it_acknowledged(server_factory: ServerFactory) -> None:
    server = server_factory()
    stream = f"{server.url}/v1/stream/a"
    assert httpx.put(stream, content=b"one ").status_code == 201
    typed = {"Content-Type": "application/octet-stream"}
    assert httpx.post(stream, content=b"two", headers=typed).status_code == 204
    server.kill()
    server.start()
    assert httpx.get(f"{server.url}/v1/stream/a").content == b"one two"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_live_reads_in_order(
    server_factory: ServerFactory, number: signal.Signals
) -> None:
    server = server_factory()
    stream = f"{server.url}/v1/stream/a"
    httpx.put(stream, content=b"x")
    with httpx.stream("GET", stream, params={"offset": "-1", "live": "sse"}) as response:
        pieces = response.iter_text()
        assert "event: data" in next(pieces)
        began = time.monotonic()
        server.stop(by=number)
        assert time.monotonic() - began < 5
        # A response that was cut short would raise here.
        assert "".join(pieces) is not None


def test_a_second_signal_does_not_wait_for_the_grace(server_factory: ServerFactory) -> None:
    server = server_factory("--shutdown-grace", "60")
    head = b"PUT /v1/stream/a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf"
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(head)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert server.process.poll() is None
        server.stop()


def test_a_port_in_use_is_named_with_its_cure(server: Server, tmp_path: Path) -> None:
    place = ("--data", str(tmp_path / "other"), "--port", str(server.port))
    command = [str(COMMAND), "serve", *NATIVE, *place]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert ran.returncode == 1
    assert f"--port {server.port}: Address already in use" in ran.stderr
    assert "free the port" in ran.stderr
