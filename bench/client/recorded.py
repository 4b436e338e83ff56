"""An event stream as our server sent it, played again as fast as it is taken."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

from bench.client.cases import MESSAGE
from durastream.client import DurableStream

QUIET = 0.5
"""Seconds without a byte: then everything has come."""
HEAD_END = b"\r\n\r\n"


class Recording:
    """A server that gives every reader the same events, over and over.

    Where it ends up is of no meaning: readers leave when they have had enough.
    """

    def __init__(self, page: bytes, head: bytes, body: bytes) -> None:
        self._page = page
        self._head = head
        self._body = memoryview(body)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/stream/recorded"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                reader, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(reader,), daemon=True).start()

    def _serve(self, reader: socket.socket) -> None:
        with reader, contextlib.suppress(OSError):
            while request := _head(reader):
                if b"live=sse" not in request[0]:
                    reader.sendall(self._page)
                    continue
                reader.sendall(self._head)
                while True:
                    reader.sendall(self._body)


def record(url: str, count: int) -> Recording:
    """Append `count` messages one by one, and keep what a reader of events gets."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    address = parts.hostname, parts.port or 80
    handle = DurableStream(url)
    handle.create("application/json")
    with socket.create_connection(address) as reader:
        reader.sendall(_request(parts.path, parts.netloc, "offset=now"))
        page = _answer(reader)
        reader.sendall(_request(parts.path, parts.netloc, "live=sse&offset=now"))
        head, first = _head(reader)
        pieces = [first]
        thread = threading.Thread(target=_listen, args=(reader, pieces))
        thread.start()
        for _ in range(count):
            handle.append(MESSAGE)
        thread.join()
    body = b"".join(pieces)
    assert body.count(b"event: data") == count
    return Recording(page, head, body)


def _listen(reader: socket.socket, pieces: list[bytes]) -> None:
    reader.settimeout(QUIET)
    with contextlib.suppress(TimeoutError):
        while piece := reader.recv(1 << 16):
            pieces.append(piece)


def _request(path: str, host: str, query: str) -> bytes:
    return f"GET {path}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def _head(sock: socket.socket) -> tuple[bytes, bytes]:
    """A message's head, and what came behind it; falsy at the end."""
    data = b""
    while HEAD_END not in data:
        piece = sock.recv(1 << 16)
        if not piece:
            return ()  # type: ignore[return-value]
        data += piece
    head, _, rest = data.partition(HEAD_END)
    return head + HEAD_END, rest


def _answer(sock: socket.socket) -> bytes:
    head, body = _head(sock)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    length = int(fields.get(b"content-length", b"0"))
    while len(body) < length:
        body += sock.recv(1 << 16)
    return head + body
