"""`/metrics`: what was done is counted, on either listener, and read by Prometheus's own parser."""

import contextlib
import re
import time
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from conftest import ServerFactory
from durastream import LogEngine
from durastream.asgi import create_app
from listener.clients import H2Client
from support.server import Server

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
TEXT = {"content-type": "text/plain"}
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "metrics.md"


def samples(server: Server) -> Samples:
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(seen: Samples, name: str, **labels: str) -> float:
    return seen[f"durastream_{name}", frozenset(labels.items())]


def work(server: Server) -> None:
    """A creation, three appends of which one is refused, two reads, over both versions of HTTP."""
    stream = f"{server.url}/v1/stream/a"
    assert httpx.put(stream, headers=TEXT).status_code == 201
    assert httpx.post(stream, headers=TEXT, content=b"12345").status_code == 204
    assert httpx.post(stream, headers={"content-type": "a/b"}, content=b"x").status_code == 409
    with H2Client.to(server.port) as client:
        post = client.request(
            b"POST", b"/v1/stream/a", [(b"content-type", b"text/plain")], end=False
        )
        client.data(post, b"678", end=True)
        assert client.wait_status(post) == 204
        assert client.wait_end(client.request(b"GET", b"/v1/stream/a")) == b"12345678"
    assert httpx.get(stream, params={"offset": "-1", "live": "long-poll"}).content == b"12345678"
    assert httpx.get(f"{server.url}/elsewhere").status_code == 404


def test_what_was_done_is_counted(server: Server, listener: str) -> None:
    before = samples(server)
    work(server)
    after = samples(server)

    def grown(name: str, **labels: str) -> float:
        key = (f"durastream_{name}", frozenset(labels.items()))
        return after[key] - before.get(key, 0)

    assert grown("streams") == 1
    assert grown("appends_total") == 2
    assert grown("append_bytes_total") == 8
    assert grown("read_bytes_total") == 16
    assert grown("refused_writes_total") == 1
    assert grown("sync_seconds_count") >= 3
    assert grown("commit_group_frames_sum") == 3
    assert grown("commit_group_bytes_sum") == grown("durable_lsn_bytes")
    assert grown("responses_total", listener=listener, status="204") == 2
    assert grown("responses_total", listener=listener, status="409") == 1
    assert grown("responses_total", listener=listener, status="404") == 1
    for operation, count in {"append": 3, "create": 1, "read": 1, "live": 1, "other": 2}.items():
        labels = {"listener": listener, "operation": operation}
        assert grown("response_seconds_count", **labels) == count, operation
        assert 0 <= grown("response_seconds_sum", **labels) < 60
        assert grown("response_seconds_bucket", le="+Inf", **labels) == count
    assert grown("received_bytes_total", listener=listener) == 9
    assert grown("sent_bytes_total", listener=listener) > 16
    assert grown("connections_accepted_total", listener=listener) >= 6
    assert value(after, "connections", listener=listener) >= 1
    assert value(after, "ready") == 1


def test_a_connection_too_many_and_a_malformed_request_are_counted(
    server_factory: ServerFactory,
) -> None:
    server = server_factory("--listener", "native", "--max-connections", "1")
    with httpx.Client(base_url=server.url) as only:
        assert only.get("/health").status_code == 200
        assert httpx.get(f"{server.url}/health").status_code == 503
        text = only.get("/metrics").text
    assert 'durastream_connections_refused_total{listener="native"} 1.0' in text
    assert 'durastream_responses_total{listener="native",status="503"} 1.0' in text


def test_live_readers_are_counted_while_they_wait(server: Server) -> None:
    stream = f"{server.url}/v1/stream/a"
    httpx.put(stream, headers=TEXT, content=b"x")

    def wait_for(readers: int) -> None:
        deadline = time.monotonic() + 10
        while value(samples(server), "waiting_readers") != readers:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    readers = []
    with contextlib.ExitStack() as held:
        for number in range(3):
            live = httpx.stream("GET", stream, params={"offset": "-1", "live": "sse"})
            # Kept: dropped, it would close the response.
            readers.append(held.enter_context(live).iter_text())
            assert "event: data" in next(readers[-1])
            wait_for(number + 1)
        httpx.post(stream, headers=TEXT, content=b"y")
        for reader in readers:
            assert any("event: data" in piece for piece in reader)
        wait_for(3)


def test_every_metric_is_documented_with_its_unit(server: Server) -> None:
    work(server)
    answer = httpx.get(f"{server.url}/metrics").text
    told = set(re.findall(r"^# TYPE (\S+) ", answer, re.MULTILINE))
    documented = set(re.findall(r"^\| `(durastream_\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    assert told == documented


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_metrics_are_only_read(server: Server, method: str) -> None:
    assert httpx.request(method, f"{server.url}/metrics").status_code == 405
    head = httpx.head(f"{server.url}/metrics")
    assert (head.status_code, head.content) == (200, b"")


def test_an_application_tells_metrics_only_if_asked() -> None:
    with LogEngine(":memory:") as engine:
        for metrics, status in ((False, 404), (True, 200)):
            app = create_app(engine, metrics=metrics)
            transport = httpx.ASGITransport(app=app)

            async def ask(transport: httpx.ASGITransport = transport) -> int:
                async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                    return (await client.get("/metrics")).status_code

            assert trio.run(ask) == status
