"""An event stream as our server sent it, played again as fast as it is taken."""

import contextlib
import socket
import threading
from typing import Self
from urllib.parse import urlsplit

from bench.client.cases import MESSAGE
from durastream.client import DurableStream

PATIENCE = 10.0
"""Seconds."""
EVENT, CONTROL, END = b"event: data", b"event: control", b"\n\n\r\n"
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
        reader.settimeout(PATIENCE)
        reader.sendall(_request(parts.path, parts.netloc, "offset=now"))
        page = _answer(reader)
        reader.sendall(_request(parts.path, parts.netloc, "live=sse&offset=now"))
        head, first = _head(reader)
        body = bytearray(first)
        for number in range(1, count + 1):
            handle.append(MESSAGE)
            # Each is waited for: appends that come together would share an event.
            while body.count(EVENT) < number or not _whole(body):
                body += reader.recv(1 << 16)
    return Recording(page, head, bytes(body))


def _whole(body: bytearray) -> bool:
    """Whether the last data has come with its control event."""
    return body.endswith(END) and body.rfind(CONTROL) > body.rfind(EVENT)


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
