"""Every test here runs on threads, on trio and on asyncio, against one server for the session."""

import itertools
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from support.server import Server

from .faces import AsyncFace, Face, SyncFace
from .proxy import Proxy

_names = itertools.count()


@pytest.fixture(params=["sync", "trio", "asyncio"])
def twin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(twin: str) -> str:
    return "asyncio" if twin == "asyncio" else "trio"


@pytest.fixture
async def face(twin: str) -> AsyncIterator[Face]:
    """The client under test; its handles are closed in the end."""
    if twin == "sync":
        yield SyncFace()
        return
    asynchronous = AsyncFace()
    yield asynchronous
    for handle in asynchronous.handles:
        await handle.aclose()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(
        tmp_path_factory.mktemp("client") / "data", ("--long-poll-timeout", "1", "--sse-max", "5")
    )
    server.start()
    yield server
    assert server.running(), server.log
    server.close()


class Room:
    """A place on the server where nobody else writes, and a plain client to do what the one under test must not."""

    def __init__(self, server: str, plain: httpx.Client) -> None:
        self.server = server
        self.plain = plain
        self.url = f"{server}/v1/stream/client/{next(_names)}"

    def create(self, content_type: str = "application/json", *bodies: bytes, **headers: str) -> str:
        """The stream's URL."""
        made = self.plain.put(self.url, headers={"Content-Type": content_type, **headers})
        assert made.status_code == 201, made.text
        for body in bodies:
            self.append(body, content_type)
        return self.url

    def append(self, body: bytes, content_type: str = "application/json", **headers: str) -> str:
        """The offset behind it."""
        answer = self.plain.post(
            self.url, content=body, headers={"Content-Type": content_type, **headers}
        )
        assert answer.status_code in (200, 204), answer.text
        return answer.headers["stream-next-offset"]

    def close(self, body: bytes = b"", content_type: str = "application/json") -> str:
        return self.append(body, content_type, **{"Stream-Closed": "true"})

    def content(self) -> bytes:
        return self.plain.get(self.url).content


@pytest.fixture
def room(shared_server: Server) -> Iterator[Room]:
    with httpx.Client(trust_env=False, timeout=10) as plain:
        yield Room(shared_server.url, plain)


@pytest.fixture
def proxy(shared_server: Server) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    with Proxy(shared_server.url) as running:
        yield running


@pytest.fixture
def through(room: Room, proxy: Proxy) -> str:
    """The room's URL, through the proxy."""
    return room.url.replace(room.server, proxy.url)
