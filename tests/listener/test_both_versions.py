"""The protocol over HTTP/1.1 and HTTP/2, in the clear and over TLS."""

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from conftest import ServerFactory
from support.server import Server

VERSIONS = {"HTTP/1.1": (True, False), "HTTP/2": (False, True)}
TEXT = {"content-type": "text/plain"}


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[httpx.Client]:
    http1, http2 = VERSIONS[request.param]
    base = f"{server.url}/v1/stream/"
    with httpx.Client(base_url=base, http1=http1, http2=http2, timeout=10) as client:
        yield client
        # Nothing a test did may have harmed the server.
        answer = client.get(f"{server.url}/health")
        assert (answer.status_code, answer.http_version) == (200, request.param)


def tail(client: httpx.Client, path: str) -> str:
    return client.head(path).headers["stream-next-offset"]


def test_a_stream_lives_and_ends(client: httpx.Client) -> None:
    created = client.put("a/b", headers=TEXT)
    assert created.status_code == 201
    assert created.headers["location"] == f"{client.base_url}a/b"
    appended = client.post("a/b", headers=TEXT, content=b"one ")
    assert appended.status_code == 204
    client.post("a/b", headers=TEXT, content=b"two")
    read = client.get("a/b")
    assert (read.status_code, read.content) == (200, b"one two")
    rest = client.get("a/b", params={"offset": appended.headers["stream-next-offset"]})
    assert rest.content == b"two"
    assert rest.headers["stream-next-offset"] == tail(client, "a/b")
    closed = client.post("a/b", headers={"stream-closed": "true"})
    assert closed.status_code == 204
    assert client.post("a/b", headers=TEXT, content=b"late").status_code == 409
    assert client.delete("a/b").status_code == 204
    assert client.get("a/b").status_code == 404


def test_a_large_body_goes_both_ways(client: httpx.Client) -> None:
    body = bytes(range(256)) * (14 << 12)
    client.put("large", headers={"content-type": "application/octet-stream"})
    headers = {"content-type": "application/octet-stream"}
    assert client.post("large", headers=headers, content=body).status_code == 204
    read = client.get("large", timeout=30)
    assert read.content == body


def test_a_body_of_unknown_length_is_taken(client: httpx.Client) -> None:
    client.put("chunks", headers=TEXT)
    pieces = iter([b"some ", b"", b"pieces"])
    assert client.post("chunks", headers=TEXT, content=pieces).status_code == 204
    assert client.get("chunks").content == b"some pieces"


def test_a_long_poll_is_answered_by_an_append(client: httpx.Client) -> None:
    client.put("live", headers=TEXT)
    timer = threading.Timer(
        0.3, lambda: client.post("live", headers=TEXT, content=b"news").raise_for_status()
    )
    timer.start()
    began = time.monotonic()
    answer = client.get("live", params={"offset": "-1", "live": "long-poll"})
    timer.join()
    assert (answer.status_code, answer.content) == (200, b"news")
    assert 0.2 < time.monotonic() - began < 5


def test_sse_gives_what_is_there_and_what_comes(client: httpx.Client) -> None:
    client.put("live", headers=TEXT)
    client.post("live", headers=TEXT, content=b"first")
    params = {"offset": "-1", "live": "sse"}
    with client.stream("GET", "live", params=params) as answer:
        lines = answer.iter_lines()
        assert "data:first" in read_event(lines)
        assert "event: control" in read_event(lines)
        client.post("live", headers=TEXT | {"stream-closed": "true"}, content=b"last")
        assert "data:last" in read_event(lines)
        assert '"streamClosed":true' in "".join(read_event(lines))
        assert list(lines) == []


def test_the_head_of_sse_comes_before_any_event(client: httpx.Client) -> None:
    client.put("empty", headers=TEXT)
    offset = tail(client, "empty")
    with client.stream("GET", "empty", params={"offset": offset, "live": "sse"}) as answer:
        assert answer.headers["content-type"] == "text/event-stream"


def read_event(lines: Iterator[str]) -> list[str]:
    event = []
    for line in lines:
        if not line:
            break
        event.append(line)
    return event


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def tls_flags(authority: trustme.CA, directory: Path) -> list[str]:
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    for blob in issued.cert_chain_pems:
        blob.write_to_path(certificate, append=True)
    issued.private_key_pem.write_to_path(key)
    return ["--tls-cert", str(certificate), "--tls-key", str(key)]


@pytest.mark.parametrize(("version", "offered"), [("HTTP/2", True), ("HTTP/1.1", False)])
def test_tls_serves_the_version_that_alpn_chooses(
    server_factory: ServerFactory,
    authority: trustme.CA,
    tmp_path: Path,
    version: str,
    offered: bool,
) -> None:
    server = server_factory(*tls_flags(authority, tmp_path))
    assert server.url.startswith("https://")
    url = f"{server.url}/v1/stream/secret"
    with httpx.Client(verify=trusting(authority), http2=offered) as client:
        created = client.put(url, headers=TEXT, content=b"hidden")
        assert (created.status_code, created.http_version) == (201, version)
        assert created.headers["location"] == url
        assert client.get(url).content == b"hidden"


def test_a_client_without_tls_harms_no_tls_server(
    server_factory: ServerFactory, authority: trustme.CA, tmp_path: Path
) -> None:
    server = server_factory(*tls_flags(authority, tmp_path))
    with pytest.raises(httpx.HTTPError):
        httpx.get(server.url.replace("https", "http"))
    with httpx.Client(verify=trusting(authority)) as client:
        assert client.get(f"{server.url}/health").status_code == 200
