"""One server for the folder, and the proof after every test that nobody was harmed."""

import itertools
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Self

import httpx
import pytest

from support.cells import SPOKEN
from support.server import Server

from . import h2_wire, wire
from .wire import Fields, Reply

MAX_BODY = 12 << 20  # above a 10 MB number, below what is quick to send

ServerFactory = Callable[..., Server]
_names = itertools.count()
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Room:
    """A running server over one version of HTTP, seen by somebody who asks it properly, or (`send`) does not."""

    def __init__(self, url: str, version: str) -> None:
        self.url = url
        self.version = version
        self.client = httpx.Client(
            base_url=url + "/v1/stream",
            timeout=10,
            trust_env=False,
            verify=_NO_TLS,
            **SPOKEN[version],
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

    @contextmanager
    def wire(self, timeout: float = 10.0) -> Iterator[wire.Client | h2_wire.Client]:
        """A connection on which every byte, or every field, is as given."""
        if self.version == "HTTP/2":
            with h2_wire.client(self.url, timeout=timeout) as client:
                yield client
        else:
            with wire.client(self.url, timeout) as plain:
                yield plain

    def send(
        self,
        method: str,
        target: bytes | str,
        headers: Fields = (),
        body: bytes | None = None,
        timeout: float = 10.0,
    ) -> Reply:
        """One request on a connection of its own, as given."""
        with self.wire(timeout) as client:
            return client.ask(method, target, headers, body)

    def connect(self, timeout: float = 10.0) -> AbstractContextManager[socket.socket]:
        """A connection, of which the test decides everything."""
        return wire.connection(self.url, timeout)


Servers = Callable[[str], Server]


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One server of each listener with small limits for the whole folder; nothing may end it."""
    started: dict[str, Server] = {}

    def of(listener: str) -> Server:
        if listener not in started:
            limits = ("--max-body", str(MAX_BODY), "--long-poll-timeout", "1")
            data = tmp_path_factory.mktemp(listener) / "data"
            started[listener] = Server(data, ("--listener", listener, *limits))
            started[listener].start()
        return started[listener]

    yield of
    for server in started.values():
        assert server.running(), server.log
        server.close()


@pytest.fixture
def room(servers: Servers, listener: str, version: str) -> Iterator[Room]:
    """The shared server; its other streams must be as alive after the test as before.

    It is asked over `version` alone: httpx has no other to fall back to.
    """
    with Room(servers(listener).url, version) as room:
        # One for all tests: it is there already but for the first.
        there = room.client.put("/neighbour", headers={"Content-Type": "text/plain"})
        assert there.status_code in (200, 201)
        yield room
        assert room.append("neighbour", b"after").status_code == 204
        news = room.client.get("/neighbour", params={"offset": there.headers["stream-next-offset"]})
        assert (news.content, news.http_version) == (b"after", version)
