"""Requests exactly as written: no client library in between that would repair or refuse them."""

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]
Fields = Iterable[tuple[str | bytes, str | bytes]]


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


class Client:
    """One connection, on which requests follow each other, every byte as given."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._methods: list[str] = []

    def ask(
        self,
        method: str,
        target: bytes | str,
        headers: Fields = (),
        body: bytes | None = None,
    ) -> Reply:
        given = list(headers)
        if body is not None:
            given.append(("Content-Length", str(len(body))))
        request = self.request(method, target, given)
        self.send(request, body or b"")
        return self.answer(request)

    def request(
        self, method: str, target: bytes | str, headers: Fields = (), *, end: bool = True
    ) -> int:
        """Sends a head, in which the test says how long the body is; the request's number."""
        raw: Headers = [(as_bytes(name), as_bytes(value)) for name, value in headers]
        self.sock.sendall(head(method.encode(), as_bytes(target), raw))
        self._methods.append(method)
        return len(self._methods) - 1

    def send(self, number: int, body: bytes, *, end: bool = True) -> None:
        """Sends bytes of a body, or as many chunks as are in it."""
        self.sock.sendall(body)

    def answer(self, number: int) -> Reply:
        """Waits for the whole response."""
        return receive(self.sock, self._methods[number])


@contextmanager
def client(url: str, timeout: float = 10.0) -> Iterator[Client]:
    with connection(url, timeout) as sock:
        yield Client(sock)


def as_bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
