"""A client that hangs up leaves nothing behind in the engine."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import trio

from durastream import LogEngine
from durastream.asgi import create_app
from durastream.listener import Listener
from durastream.listener.server import open_socket
from listener.clients import H2Client, connect, get, read_all

LIVE = ["long-poll", "sse"]


class Running:
    """The application on our listener, in a thread, so that the test sees its engine."""

    def __init__(self) -> None:
        self.engine = LogEngine(":memory:")
        self.app = create_app(self.engine, probes=True)
        self.sock = open_socket("127.0.0.1", 0)
        self.port: int = self.sock.getsockname()[1]
        self.listener = Listener(self.app, [self.sock])
        self.token: trio.lowlevel.TrioToken | None = None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=trio.run, args=(self.run,))

    async def run(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self.ready.set()
        await self.listener.run()

    def call(self, function: Callable[[], None]) -> None:
        assert self.token is not None
        trio.from_thread.run_sync(function, trio_token=self.token)

    def stop(self) -> None:
        self.app.shut_down()
        self.listener.stop()

    def watches(self) -> int:
        return self.engine.stats().watches

    def wait_watches(self, wanted: int) -> None:
        deadline = time.monotonic() + 3
        while self.watches() != wanted:
            assert time.monotonic() < deadline, f"{self.watches()} watches, not {wanted}"
            time.sleep(0.02)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    running.engine.create("s", content_type="text/plain")
    running.thread.start()
    running.ready.wait()
    yield running
    running.call(running.stop)
    running.thread.join(10)
    assert not running.thread.is_alive()
    assert running.engine.closed or running.watches() == 0
    running.engine.close()


def target(live: str) -> str:
    return f"/v1/stream/s?offset=now&live={live}"


@pytest.mark.parametrize("live", LIVE)
def test_hanging_up_withdraws_the_watch(running: Running, live: str) -> None:
    for _ in range(5):
        with connect(running.port) as sock:
            sock.sendall(f"GET {target(live)} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            running.wait_watches(1)
        running.wait_watches(0)
    assert not running.app.live


@pytest.mark.parametrize("live", LIVE)
def test_resetting_a_stream_withdraws_its_watch_only(running: Running, live: str) -> None:
    with H2Client.to(running.port) as client:
        first = client.request(b"GET", target(live).encode())
        second = client.request(b"GET", target(live).encode())
        running.wait_watches(2)
        client.h2.reset_stream(first)
        client.flush()
        running.wait_watches(1)
        running.engine.append("s", b"news", close=True)
        client.wait_end(second)
    running.wait_watches(0)


def test_hanging_up_beside_many_leaves_the_others(running: Running) -> None:
    with connect(running.port) as stays:
        stays.sendall(f"GET {target('long-poll')} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        for _ in range(20):
            with connect(running.port) as sock:
                sock.sendall(f"GET {target('long-poll')} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        running.wait_watches(1)
        running.engine.append("s", b"news")
        assert stays.recv(65_536).endswith(b"news")


def test_an_upload_cut_short_gives_its_room_back(running: Running) -> None:
    with connect(running.port) as sock:
        sock.sendall(
            b"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
            b"content-length: 1000000\r\n\r\n" + bytes(500_000)
        )
        deadline = time.monotonic() + 3
        while running.app.upload_bytes != 500_000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    deadline = time.monotonic() + 3
    while running.app.upload_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_that_shuts_down_is_not_ready_and_healthy(running: Running) -> None:
    assert get(running.port, "/ready").startswith(b"HTTP/1.1 200 ")
    running.call(running.app.shut_down)
    assert get(running.port, "/ready").startswith(b"HTTP/1.1 503 ")
    assert get(running.port, "/health").startswith(b"HTTP/1.1 200 ")


def test_live_reads_after_shut_down_answer_at_once(running: Running) -> None:
    running.call(running.app.shut_down)
    assert get(running.port, target("long-poll")).startswith(b"HTTP/1.1 204 ")
    assert get(running.port, target("sse")).endswith(b"0\r\n\r\n")


def test_a_closed_log_is_said_and_not_ready(running: Running) -> None:
    running.engine.close()
    assert get(running.port, "/ready").startswith(b"HTTP/1.1 503 ")
    assert b"the log is closed" in get(running.port, "/ready")
    append = b"POST /v1/stream/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
    with connect(running.port) as sock:
        sock.sendall(append + b"content-length: 4\r\n\r\nlost")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("live", LIVE)
def test_a_live_read_with_a_body_is_answered_and_left_like_any(running: Running, live: str) -> None:
    head = f"GET {target(live)} HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc".encode()
    with connect(running.port) as leaves:
        leaves.sendall(head)
        running.wait_watches(1)
    running.wait_watches(0)
    with connect(running.port) as stays:
        stays.sendall(head)
        running.wait_watches(1)
        running.engine.append("s", b"news", close=True)
        deadline = time.monotonic() + 3
        answer = b""
        while b"news" not in answer:
            assert time.monotonic() < deadline
            answer += stays.recv(65_536)
        stays.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert read_all(stays).endswith(b'{"status": "ok"}')
