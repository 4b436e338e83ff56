"""The ASGI application in other houses: FastAPI, Starlette, uvicorn, plain hypercorn."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from durastream._mount import raw_path, split
from listener.clients import connect, get, read_all

TEXT = {"content-type": "text/plain"}
HOUSES = {
    "bare": "from listener.houses import bare as app",
    "fastapi": "from listener.houses import fastapi as app",
    "starlette": "from listener.houses import starlette as app",
}
RUN = {
    "uvicorn": "import uvicorn; uvicorn.run(app, port={port}, log_level='warning')",
    "hypercorn-trio": (
        "import trio; from hypercorn.trio import serve; from hypercorn.config import Config; "
        "c = Config(); c.bind = ['127.0.0.1:{port}']; trio.run(serve, app, c)"
    ),
    "hypercorn-asyncio": (
        "import asyncio; from hypercorn.asyncio import serve; from hypercorn.config import Config; "
        "c = Config(); c.bind = ['127.0.0.1:{port}']; asyncio.run(serve(app, c))"
    ),
}
PREFIX = {"bare": "", "fastapi": "/api/ds", "starlette": "/outer/in%20ner"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture(
    params=[
        ("uvicorn", "bare"),
        ("uvicorn", "fastapi"),
        ("uvicorn", "starlette"),
        ("hypercorn-trio", "fastapi"),
        ("hypercorn-asyncio", "starlette"),
    ],
    ids="-".join,
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The base URL of an application that runs in a house of others."""
    server, house = request.param
    port = free_port()
    code = f"{HOUSES[house]}\n{RUN[server].format(port=port)}"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], cwd=Path(__file__).parent.parent
    )
    try:
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), connect(port):
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}{PREFIX[house]}/v1/stream"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_the_protocol_works_below_the_prefix(url: str) -> None:
    created = httpx.put(f"{url}/a%2Fb/c", headers=TEXT)
    assert created.status_code == 201
    # Whichever of two spellings it is given in, the place it names is the stream's.
    assert created.headers["location"].startswith(url)
    assert httpx.head(created.headers["location"]).status_code == 200
    assert httpx.post(f"{url}/a%2Fb/c", headers=TEXT, content=b"hello").status_code == 204
    assert httpx.get(f"{url}/a%2Fb/c").content == b"hello"
    offset = httpx.head(f"{url}/a%2Fb/c").headers["stream-next-offset"]
    parameters = {"offset": offset, "live": "long-poll"}
    assert httpx.get(f"{url}/a%2Fb/c", params=parameters).status_code == 204
    closing = TEXT | {"stream-closed": "true"}
    assert httpx.post(f"{url}/a%2Fb/c", headers=closing).status_code == 204
    live = httpx.get(f"{url}/a%2Fb/c", params={"offset": "-1", "live": "sse"})
    assert "data:hello" in live.text
    assert httpx.delete(f"{url}/a%2Fb/c").status_code == 204
    outside = httpx.get(f"{url}s-not/x")
    assert outside.status_code == 404


def test_a_large_body_and_one_over_the_limit(url: str) -> None:
    httpx.put(f"{url}/large", headers=TEXT)
    body = bytes(3_000_000)
    assert httpx.post(f"{url}/large", headers=TEXT, content=body).status_code == 204
    assert httpx.get(f"{url}/large").content == body
    host, _, path = url.removeprefix("http://").partition("/")
    with connect(int(host.rpartition(":")[2])) as sock:
        sock.sendall(
            f"POST /{path}/large HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
            "content-length: 20000000\r\n\r\n".encode()
        )
        sock.sendall(bytes(20_000_000))
        assert sock.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_hangs_up_is_noticed(url: str) -> None:
    httpx.put(f"{url}/left", headers=TEXT)
    host, _, path = url.removeprefix("http://").partition("/")
    port = int(host.rpartition(":")[2])
    for _ in range(3):
        with connect(port) as sock:
            target = f"/{path}/left?offset=now&live=sse"
            sock.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 3
    while not get(port, "/watches").endswith(b"=0"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_shutdown_answers_live_reads_when_the_house_asks(url: str) -> None:
    httpx.put(f"{url}/live", headers=TEXT)
    host, _, path = url.removeprefix("http://").partition("/")
    port = int(host.rpartition(":")[2])
    with connect(port) as sock:
        target = f"/{path}/live?offset=now&live=sse"
        sock.sendall(f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        sock.recv(65_536)
        assert get(port, "/shut-down").startswith(b"HTTP/1.1 200")
        assert read_all(sock).endswith(b"0\r\n\r\n")


def scope(**fields: Any) -> MutableMapping[str, Any]:  # noqa: ANN401
    return {"type": "http", "root_path": ""} | fields


@pytest.mark.parametrize(
    ("fields", "prefix", "below"),
    [
        ({"path": "/v1/stream/x", "raw_path": b"/v1/stream/x"}, "", b"/v1/stream/x"),
        ({"path": "/v1/stream/a b"}, "", b"/v1/stream/a%20b"),
        ({"path": "/v1/stream/\udcff"}, "", b"/v1/stream/%FF"),
        ({"path": "/v1/stream/%", "raw_path": None}, "", b"/v1/stream/%25"),
        # Newer frameworks: the path stays whole.
        (
            {"path": "/m/v1/stream/x", "raw_path": b"/m/v1/stream/x", "root_path": "/m"},
            "/m",
            b"/v1/stream/x",
        ),
        (
            {"path": "/m n/v1/stream/x", "raw_path": b"/m%20n/v1/stream/%2F", "root_path": "/m n"},
            "/m n",
            b"/v1/stream/%2F",
        ),
        # Older ones, and proxies: it is taken away.
        ({"path": "/v1/stream/x", "root_path": "/m"}, "/m", b"/v1/stream/x"),
        ({"path": "/v1/stream/x", "root_path": "/v1/"}, "/v1", b"/v1/stream/x"),
        ({"path": "/mine/v1/stream/x", "root_path": "/m"}, "/m", b"/mine/v1/stream/x"),
        ({"path": "/m", "root_path": "/m"}, "/m", b""),
    ],
)
def test_the_prefix_is_told_from_the_path(
    fields: dict[str, Any], prefix: str, below: bytes
) -> None:
    def routes(path: bytes) -> bool:
        return path.startswith(b"/v1/stream/")

    assert split(scope(**fields), routes) == (prefix, below)


def test_a_query_in_the_raw_path_is_no_part_of_it() -> None:
    assert raw_path(scope(path="/x", raw_path=b"/x?y=1")) == b"/x"
