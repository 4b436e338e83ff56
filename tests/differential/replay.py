"""Sends requests over HTTP/1.1 or HTTP/2, one at a time, and makes answers comparable."""

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from listener.clients import H2Client, read_all

from .requests import Ask

SECONDS = 15.0
# What the framing of HTTP decides, and when the answer was made.
FRAMING = frozenset({"date", "connection", "transfer-encoding"})
TIMED = (
    (re.compile(rb'"streamCursor":"\d+"'), b'"streamCursor":"N"'),
    (re.compile(rb'"created_at": "[^"]+"'), b'"created_at": "T"'),
)


@dataclass
class Answer:
    """What must be the same everywhere."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


Send = Callable[[int, Ask], Answer]


def over_http1(port: int, ask: Ask) -> Answer:
    """On a connection of its own."""
    fields = {"host": f"127.0.0.1:{port}", "connection": "close", **ask.headers}
    if ask.body or ask.method in ("PUT", "POST"):
        fields["content-length"] = str(len(ask.body))
    head = f"{ask.method} {ask.target} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return comparable(port, *parse(exchange(port, head.encode() + b"\r\n" + ask.body)))


def exchange(port: int, request: bytes, *, half_close: bool = False) -> bytes:
    """All bytes of the answers to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        sock.sendall(request)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        return read_all(sock)


def parse(raw: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, fields and body of the one answer in `raw`."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (x.partition(":") for x in lines)]
    # HEAD may say how the body of a GET would come.
    if body and ("transfer-encoding", "chunked") in fields:
        body = unchunked(body)
    return int(first.split()[1]), fields, body


def unchunked(data: bytes) -> bytes:
    whole = b""
    while True:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if size == 0:
            assert data == b"\r\n"
            return whole
        assert data[size : size + 2] == b"\r\n"
        whole, data = whole + data[:size], data[size + 2 :]


def over_http2(port: int, ask: Ask) -> Answer:
    """On a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        client = H2Client(sock)
        fields = [
            (b":method", ask.method.encode()),
            (b":scheme", b"http"),
            (b":authority", b"127.0.0.1:%d" % port),
            (b":path", ask.target.encode()),
            *((name.encode(), value.encode()) for name, value in ask.headers.items()),
        ]
        if ask.body or ask.method in ("PUT", "POST"):
            fields.append((b"content-length", b"%d" % len(ask.body)))
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, fields, end_stream=not ask.body)
        if ask.body:
            client.h2.send_data(stream, ask.body, end_stream=True)
        client.flush()
        status = client.wait_status(stream)
        body = client.wait_end(stream)
        headers = [(k.decode(), v.decode("latin-1")) for k, v in client.headers[stream]]
        return comparable(port, status, [x for x in headers if x[0] != ":status"], body)


def comparable(port: int, status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    """Without what may differ: framing, the port, the time."""
    kept = [
        (name, "N" if name == "stream-cursor" else value.replace(f":{port}", ":PORT"))
        for name, value in headers
        if name not in FRAMING
    ]
    body = body.replace(b":%d" % port, b":PORT")
    for pattern, constant in TIMED:
        body = pattern.sub(constant, body)
    return Answer(status, sorted(kept), body)


def replay(port: int, asks: list[Ask], send: Send) -> list[Answer]:
    """The answers, in order."""
    answers, etag = [], '""'
    for ask in asks:
        headers = {name: value.replace("{etag}", etag) for name, value in ask.headers.items()}
        answer = send(port, Ask(ask.method, ask.target, headers, ask.body))
        answers.append(answer)
        etag = dict(answer.headers).get("etag", etag)
    return answers
