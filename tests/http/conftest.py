"""One server for the folder, and the proof after every test that nobody was harmed."""

import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Self

import httpx
import pytest

from durastream.settings import LISTENERS
from support.server import Server

from . import wire

VERSIONS = {"HTTP/1.1": (True, False), "HTTP/2": (False, True)}
MAX_BODY = 12 << 20  # above a 10 MB number, below what is quick to send

ServerFactory = Callable[..., Server]
_names = itertools.count()


class Room:
    """A running server, seen by somebody who only ever asks it properly."""

    def __init__(self, url: str, version: str = "HTTP/1.1") -> None:
        self.url = url
        self.version = version
        http1, http2 = VERSIONS[version]
        base = url + "/v1/stream"
        self.client = httpx.Client(
            base_url=base, timeout=10, trust_env=False, http1=http1, http2=http2
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    @contextmanager
    def crowd(self, number: int) -> "Iterator[list[Room]]":
        """As many of the same, one for each thread.

        httpx mixes up the streams of an HTTP/2 connection that threads share.
        """
        with ExitStack() as stack:
            yield [stack.enter_context(Room(self.url, self.version)) for _ in range(number)]

    def name(self) -> str:
        return f"room/{next(_names)}"

    def stream(self, content_type: str, body: bytes = b"", **headers: str) -> tuple[str, str]:
        """A fresh stream; gives its path and tail."""
        path = self.name()
        put = self.client.put(
            f"/{path}", content=body, headers={"Content-Type": content_type, **headers}
        )
        assert put.status_code == 201, put.text
        return path, put.headers["stream-next-offset"]

    def append(self, path: str, body: bytes, **headers: str) -> httpx.Response:
        typed = {"Content-Type": "text/plain", **headers}
        return self.client.post(f"/{path}", content=body, headers=typed)

    def content(self, path: str) -> bytes:
        """The whole stream, page by page."""
        whole, offset = b"", "-1"
        while True:
            page = self.client.get(f"/{path}", params={"offset": offset})
            assert page.status_code == 200, page.text
            whole, offset = whole + page.content, page.headers["stream-next-offset"]
            if page.headers.get("stream-up-to-date") == "true":
                return whole

    def exists(self, path: str) -> bool:
        return self.client.head(f"/{path}").status_code == 200

    def connect(self, timeout: float = 10.0) -> AbstractContextManager[socket.socket]:
        return wire.connection(self.url, timeout)


@pytest.fixture(scope="session", params=LISTENERS)
def shared_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server of each listener with small limits for the whole folder; nothing may end it."""
    limits = ("--listener", request.param, "--max-body", str(MAX_BODY), "--long-poll-timeout", "2")
    server = Server(tmp_path_factory.mktemp("http") / "data", limits)
    server.start()
    yield server
    assert server.running(), server.log
    server.close()


@pytest.fixture
def version() -> str:
    """What the room's client speaks. A module whose tests ask by that client overrides it with both."""
    return "HTTP/1.1"


@pytest.fixture
def room(shared_server: Server, version: str) -> Iterator[Room]:
    """The shared server; its other streams must be as alive after the test as before."""
    with Room(shared_server.url, version) as room:
        neighbour, _ = room.stream("text/plain", b"before ")
        yield room
        assert room.append(neighbour, b"after").status_code == 204
        assert room.content(neighbour) == b"before after"
        assert room.client.head(f"/{neighbour}").http_version == version
