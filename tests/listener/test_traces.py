"""Spans that reach an OpenTelemetry collector, and collectors that do not take them."""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from conftest import ServerFactory

VERSIONS = {"1.1": (True, False), "2": (False, True)}
TEXT = {"content-type": "text/plain"}
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, INTERNAL = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL


@dataclass
class Collector:
    """Takes spans, as a collector of OpenTelemetry does."""

    url: str
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    requests: "queue.Queue[str]" = field(default_factory=queue.Queue)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/x-protobuf"
            for told in ExportTraceServiceRequest.FromString(body).resource_spans:
                found.resources.append(values(told.resource.attributes))
                for scope in told.scope_spans:
                    found.spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            found.requests.put(self.path)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in attributes
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_is_a_span_below_its_callers(
    server_factory: ServerFactory, collector: Collector, version: str
) -> None:
    server = server_factory("--otlp-endpoint", collector.url, "--trace-ratio", "1")
    http1, http2 = VERSIONS[version]
    before = time.time_ns()
    with httpx.Client(base_url=server.url, http1=http1, http2=http2, trust_env=False) as client:
        client.put("/v1/stream/a", headers=TEXT)
        caller = {"traceparent": f"00-{TRACE}-{CALLER}-01", **TEXT}
        assert client.post("/v1/stream/a", content=b"12345", headers=caller).status_code == 204
        assert client.get("/v1/stream/a?offset=-1&live=long-poll").content == b"12345"
        assert client.get("/health").status_code == 200
    server.stop()  # which sends what is left
    after = time.time_ns()

    (append,) = collector.named("POST /v1/stream/{stream}")
    assert (append.trace_id.hex(), append.parent_span_id.hex()) == (TRACE, CALLER)
    assert append.kind == SERVER
    assert before <= append.start_time_unix_nano <= append.end_time_unix_nano <= after
    told = values(append.attributes)
    assert told.pop("network.peer.port") > 0
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/stream/{stream}",
        "http.response.status_code": 204,
        "http.request.body.size": 5,
        "http.response.body.size": 0,
        "url.path": "/v1/stream/a",
        "network.protocol.version": version,
        "network.peer.address": "127.0.0.1",
        "durastream.operation": "append",
        "durastream.response.whole": True,
    }
    (read,) = collector.named("GET /v1/stream/{stream}")
    told = values(read.attributes)
    assert told["durastream.operation"] == "live"
    assert told["url.query"] == "offset=-1&live=long-poll"
    assert told["http.response.body.size"] == 5
    assert not read.parent_span_id
    assert read.trace_id.hex() != TRACE
    (probe,) = collector.named("GET")
    assert values(probe.attributes)["url.path"] == "/health"
    groups = collector.named("commit_group")
    assert sum(values(group.attributes)["durastream.group.frames"] for group in groups) >= 2
    assert {group.kind for group in groups} == {INTERNAL}
    assert collector.resources[0]["service.name"] == "durastream"
    assert collector.requests.get() == "/v1/traces"


def test_the_caller_decides_and_else_the_ratio(
    server_factory: ServerFactory, collector: Collector
) -> None:
    server = server_factory("--otlp-endpoint", collector.url, "--trace-ratio", "0")
    url = f"{server.url}/v1/stream/a"
    for number, flags in enumerate(("00", "01", "00")):
        parent = f"00-{TRACE}-{number + 1:016x}-{flags}"
        httpx.put(url, headers={"traceparent": parent, **TEXT}, trust_env=False)
    httpx.put(url, headers=TEXT, trust_env=False)
    server.stop()
    assert [span.parent_span_id.hex() for span in collector.spans] == [f"{2:016x}"]


def test_spans_go_in_batches_while_it_serves(
    server_factory: ServerFactory, collector: Collector
) -> None:
    server = server_factory("--otlp-endpoint", collector.url, "--trace-ratio", "1")
    with httpx.Client(trust_env=False) as client:
        client.put(f"{server.url}/v1/stream/a", headers=TEXT)
        for _ in range(700):
            client.head(f"{server.url}/v1/stream/a")
    assert collector.requests.get(timeout=10) == "/v1/traces"
    server.stop()
    assert len(collector.named("HEAD /v1/stream/{stream}")) == 700
    assert collector.requests.qsize() < 10


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """A collector that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def absent() -> Iterator[str]:
    """A collector that is not there."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.parametrize("fault", [absent, silent])
def test_a_collector_that_takes_nothing_stops_nobody(
    server_factory: ServerFactory, fault: Callable[[], AbstractContextManager[str]]
) -> None:
    with fault() as url:
        server = server_factory("--otlp-endpoint", url, "--trace-ratio", "1")
        stream = f"{server.url}/v1/stream/a"
        with httpx.Client(trust_env=False, timeout=5) as client:
            client.put(stream, headers=TEXT)
            # More than the exporter's queue holds, in both cases.
            for _ in range(3000):
                assert client.head(stream).status_code == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3
        assert server.log.count("the collector does not take them") <= 1
        if fault is absent:
            assert f"uri={url}/v1/traces" in server.log.replace('"', "")


@pytest.fixture
def holding() -> Iterator[str]:
    """Takes everything and says so, and closes no connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as held:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection = held.enter_context(listener.accept()[0])
                    connection.recv(1 << 20)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=take)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_answer_ends_where_it_says_it_does(server_factory: ServerFactory, holding: str) -> None:
    server = server_factory("--otlp-endpoint", holding, "--trace-ratio", "1")
    httpx.put(f"{server.url}/v1/stream/a", headers=TEXT, trust_env=False)
    time.sleep(9)  # a batch is due after 5 s, and would be given up 3 s later
    server.stop()
    assert "spans were dropped" not in server.log


def test_a_span_keeps_no_more_than_the_begin_of_a_long_target(
    server_factory: ServerFactory, collector: Collector
) -> None:
    server = server_factory("--otlp-endpoint", collector.url, "--trace-ratio", "1")
    httpx.get(f"{server.url}/v1/stream/a?offset=-1&x={'y' * 50_000}", trust_env=False)
    server.stop()
    (read,) = collector.named("GET /v1/stream/{stream}")
    assert values(read.attributes)["url.query"] == f"offset=-1&x={'y' * 50_000}"[:2035]


def test_a_collector_over_tls_is_refused_with_its_cure(server_factory: ServerFactory) -> None:
    with pytest.raises(RuntimeError, match=r"--otlp-endpoint: 'https://c:4318'.*http://127"):
        server_factory("--otlp-endpoint", "https://c:4318")
