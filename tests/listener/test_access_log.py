"""`--access-log`: one line per request, with the same fields on both listeners."""

import json
import re
import time
from typing import Any

import httpx
import pytest

from conftest import ServerFactory
from listener.clients import H2Client, connect, read_all
from support.server import Server

TEXT = {"content-type": "text/plain"}
FIELDS = [
    "time", "level", "logger", "message", "peer", "method", "target", "version", "status", "received",
    "sent", "milliseconds", "whole",
]  # fmt: skip


def lines(server: Server, count: int) -> list[str]:
    """The access log, once it has so many lines."""
    deadline = time.monotonic() + 5
    while True:
        found = [line for line in server.log.splitlines() if "durastream.access" in line]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_json_has_the_same_fields_on_both(server_factory: ServerFactory) -> None:
    server = server_factory("--access-log", "full", "--log-format", "json")
    stream = f"{server.url}/v1/stream/a"
    httpx.put(stream, headers=TEXT, content=b"12345")
    with H2Client.to(server.port) as client:
        client.wait_end(client.request(b"GET", b"/v1/stream/a?offset=-1"))
        append = client.request(
            b"POST", b"/v1/stream/a", [(b"content-type", b"text/plain")], end=False
        )
        client.data(append, b"123", end=True)
        client.wait_end(append)
        # On the native listener, one that is forwarded. What comes behind the answer is not told, so all comes at once.
        odd = client.request(b"POST", b"/v1/odd", end=False, flush=False)
        client.data(odd, b"1234567", end=True)
        client.wait_end(odd)
    httpx.get(f"{server.url}/health")
    seen: list[dict[str, Any]] = [json.loads(line) for line in lines(server, 5)]
    assert [list(line) for line in seen] == [FIELDS] * 5
    [forwarded] = [line for line in seen if line["target"] == "/v1/odd"]
    assert (forwarded["status"], forwarded["received"], forwarded["whole"]) == (404, 7, True)
    seen.remove(forwarded)
    assert [
        (x["method"], x["target"], x["version"], x["status"], x["received"], x["sent"], x["whole"])
        for x in seen
    ] == [
        ("PUT", "/v1/stream/a", "1.1", 201, 5, 0, True),
        ("GET", "/v1/stream/a?offset=-1", "2", 200, 0, 5, True),
        ("POST", "/v1/stream/a", "2", 204, 3, 0, True),
        ("GET", "/health", "1.1", 200, 0, 16, True),
    ]
    for line in seen:
        assert re.fullmatch(r"127\.0\.0\.1:\d+", line["peer"])
        assert 0 < line["milliseconds"] < 5000
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_text_is_one_line_whatever_the_target_holds(server_factory: ServerFactory) -> None:
    server = server_factory("--access-log", "full")
    with connect(server.port) as sock:
        sock.sendall(b'GET /v1/stream/%0a"x=y\\ HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n')
        read_all(sock)
    [line] = lines(server, 1)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO durastream\.access: request peer=127\.0\.0\.1:\d+ "
        r'method=GET target="/v1/stream/%0a\\"x=y\\\\" version=1\.1 status=400 received=0 sent=\d+ '
        r"milliseconds=[\d.]+ whole=true",
        line,
    )


def test_an_answer_that_was_cut_short_says_so(server_factory: ServerFactory) -> None:
    server = server_factory("--access-log", "full")
    stream = f"{server.url}/v1/stream/a"
    httpx.put(stream, headers=TEXT, content=b"x")
    with httpx.stream("GET", stream, params={"offset": "-1", "live": "sse"}) as response:
        assert "event: data" in next(response.iter_text())
    assert "whole=false" in lines(server, 2)[1]


@pytest.mark.parametrize(("flags", "expected"), [((), 0), (("--access-log", "sampled"), 2)])
def test_it_is_off_or_one_in_a_hundred(
    server_factory: ServerFactory, flags: tuple[str, ...], expected: int
) -> None:
    server = server_factory(*flags)
    with httpx.Client(base_url=server.url) as client:
        for _ in range(250):
            client.get("/v1/stream/none")
    server.stop()
    assert len(lines(server, expected)) == expected
