"""Requests exactly as written: no client library in between that would repair or refuse them."""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> str:
        """The text of a problem+json answer, after checking that it is one."""
        assert self.headers.get("content-type") == "application/problem+json", self
        told = json.loads(self.body)
        assert told["status"] == self.status, self
        assert told["title"], self
        assert told["detail"], self
        return f"{told['title']} {told['detail']}"


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def head(method: bytes, target: bytes, headers: Headers, host: bytes = b"test") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@contextmanager
def connection(url: str, timeout: float = 10.0) -> Iterator[socket.socket]:
    with socket.create_connection(address(url), timeout=timeout) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def receive(sock: socket.socket, method: str = "GET") -> Reply:
    """Reads one response; fails on anything that is not HTTP/1.1."""
    response = HTTPResponse(sock, method=method)
    response.begin()
    try:
        body = response.read()
    finally:
        response.close()
    return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, body)


def send(
    url: str,
    method: str,
    target: bytes | str,
    headers: Iterable[tuple[str | bytes, str | bytes]] = (),
    body: bytes | None = None,
    timeout: float = 10.0,
) -> Reply:
    """One request on a connection of its own, every byte as given."""
    raw: Headers = [(_bytes(name), _bytes(value)) for name, value in headers]
    if body is not None:
        raw.append((b"Content-Length", str(len(body)).encode()))
    with connection(url, timeout) as sock:
        sock.sendall(head(method.encode(), _bytes(target), raw) + (body or b""))
        return receive(sock, method)


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
