"""Every test here runs on threads, on trio and on asyncio, against both listeners and over both versions of HTTP.

A test of the twins (`face`) runs in six of these twelve ways, `WAYS`: each twin over each version, each twin at each
listener, and each listener over each version. The others run in the four cells of `support.cells`.
"""

import itertools
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from durastream.settings import LISTENERS
from support.cells import SPOKEN, Authority
from support.server import Server

from .faces import AsyncFace, Face, SyncFace
from .proxy import Proxy
from .proxy_h2 import Http2Proxy

NAMES = ("twin", "listener", "version")
WAYS = (
    ("sync", "native", "HTTP/1.1"),
    ("trio", "hypercorn", "HTTP/1.1"),
    ("asyncio", "native", "HTTP/1.1"),
    ("sync", "hypercorn", "HTTP/2"),
    ("trio", "native", "HTTP/2"),
    ("asyncio", "hypercorn", "HTTP/2"),
)
CELLS = tuple(("", listener, version) for listener in LISTENERS for version in SPOKEN)
ONLY_NATIVE = pytest.mark.parametrize("listener", ["native"])
"""For tests of what a program loads and how it ends: every listener answers them alike."""
_names = itertools.count()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs in `WAYS`, or in the four cells, or in what its own mark leaves of them."""
    names = [name for name in NAMES if name in metafunc.fixturenames]
    ways = WAYS if "twin" in names else CELLS
    for mark in metafunc.definition.iter_markers("parametrize"):
        if mark.args[0] in names:
            place = NAMES.index(mark.args[0])
            ways = tuple(way for way in ways if way[place] in mark.args[1])
            names.remove(mark.args[0])
    if names:
        rows = dict.fromkeys(tuple(way[NAMES.index(name)] for name in names) for way in ways)
        metafunc.parametrize(names, list(rows))


@pytest.fixture
def twin() -> str:
    """Which twin: `pytest_generate_tests` says."""
    raise NotImplementedError


listener = version = twin


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


Servers = Callable[[str, str], Server]
LOGGED = re.compile(r"durastream\.access: .* target=\"?(\S+?)\"? version=(\S+)")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Servers]:
    """One server for each cell. Clients choose HTTP/2 by ALPN, so those of that version have TLS.

    Their access log must tell of no other version in the end.
    """
    started: dict[tuple[str, str], Server] = {}

    def of(listener: str, version: str) -> Server:
        if (listener, version) not in started:
            flags = ["--listener", listener, "--long-poll-timeout", "1", "--sse-max", "5"]
            flags += ["--access-log", "full"]
            if version == "HTTP/2":
                flags += authority.flags
            server = Server(tmp_path_factory.mktemp("client") / "data", flags)
            server.start()
            started[listener, version] = server
        return started[listener, version]

    yield of
    ended = [(version, server, server.running()) for (_, version), server in started.items()]
    for _, server, _ in ended:
        server.close()
    for version, server, was_running in ended:
        assert was_running, server.log
        spoken = {found[2] for found in LOGGED.finditer(server.log) if found[1] != "/health"}
        spoken.discard("-")  # what was no HTTP at all
        assert spoken == {version.removeprefix("HTTP/").removesuffix(".0")}


@pytest.fixture(scope="session")
def trusting() -> ssl.SSLContext:
    """Trusts the authority of this run."""
    return ssl.create_default_context()


@pytest.fixture
def server(servers: Servers, listener: str, version: str) -> Server:
    """The cell's."""
    return servers(listener, version)


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
def room(server: Server, version: str, trusting: ssl.SSLContext) -> Iterator[Room]:
    speaking = SPOKEN[version]
    with httpx.Client(trust_env=False, timeout=10, verify=trusting, **speaking) as plain:
        yield Room(server.url, plain)


@pytest.fixture
def proxied(authority: Authority) -> Callable[[str], Proxy]:
    """A proxy before a server of this URL, in front of which clients speak as they would with the server."""

    def before(url: str) -> Proxy:
        if url.startswith("https://"):
            return Http2Proxy(url, authority.serving)
        return Proxy(url)

    return before


@pytest.fixture
def proxy(server: Server, proxied: Callable[[str], Proxy]) -> Iterator[Proxy]:
    """A proxy before the cell's server."""
    with proxied(server.url) as running:
        yield running


@pytest.fixture
def through(room: Room, proxy: Proxy) -> str:
    """The room's URL, through the proxy."""
    return room.url.replace(room.server, proxy.url)
