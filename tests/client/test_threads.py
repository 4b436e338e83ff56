"""Threads that share the client of their process, whatever version of HTTP is spoken."""

import concurrent.futures
import threading
import time
from typing import Any

import httpx
import pytest

from conftest import ServerFactory
from durastream.client import DurableStream, IdempotentProducer, Retry, stream
from durastream.client.apart import ThreadClient
from support.cells import ONLY_HTTP2, Authority

from .conftest import Room

NEVER = Retry(max_retries=0)
THREADS = 16
APPENDS = 40


def test_threads_that_append_and_read_at_once_meet_no_error(room: Room) -> None:
    """Nothing is tried again: what one thread does is nothing to the others."""
    url = room.create()

    def work(number: int) -> None:
        handle = DurableStream(url, retry=NEVER)
        for each in range(APPENDS):
            handle.append([number, each])
            assert handle.stream().json()[:1] is not None

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(work, number) for number in range(THREADS)]:
            done.result(60)
    got = stream(url).json()
    for number in range(THREADS):
        assert [each for of, each in got if of == number] == list(range(APPENDS))


def test_producers_with_batches_in_flight_need_no_second_attempt(room: Room) -> None:
    url = room.create()
    stream_of = DurableStream(url, retry=NEVER)

    def produce(name: str) -> None:
        with IdempotentProducer(stream_of, name, linger=0, max_batch_messages=1) as producer:
            for each in range(100):
                producer.append([name, each])

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(produce, name) for name in "abcd"]:
            done.result(60)
    got = stream(url).json()
    for name in "abcd":
        assert [each for of, each in got if of == name] == list(range(100))


@ONLY_HTTP2
@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_cancel_wakes_a_thread_over_http2_at_once(room: Room, live: Any) -> None:  # noqa: ANN401
    """The others' connections live on: they share none with it."""
    url = room.create("application/json", b"1")
    others = stream(url, live="sse")
    chunks = others.iter_chunks()
    assert next(chunks).json() == [1]
    response = stream(url, live=live)
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(response.iter_json()))
    reader.start()
    while not got:
        time.sleep(0.01)
    time.sleep(0.2)  # it waits for what comes next
    began = time.monotonic()
    response.cancel()
    reader.join(5)
    assert not reader.is_alive()
    assert time.monotonic() - began < 0.5, "it waited for the end of a long-poll, or a heartbeat"
    room.append(b"2")
    assert next(chunks).json() == [2]
    others.cancel()


@ONLY_HTTP2
def test_requests_one_after_the_other_share_a_connection(room: Room) -> None:
    url = room.create("application/json", b"1")
    with ThreadClient(http2=True) as client:
        numbers = []
        for _ in range(5):
            answer = client.get(url)
            assert answer.http_version == "HTTP/2"
            numbers.append(answer.extensions["stream_id"])
        assert numbers == [1, 3, 5, 7, 9]


@ONLY_HTTP2
def test_appends_one_after_the_other_share_connections(room: Room) -> None:
    """Not quite all: what a server says about its windows behind an answer looks like an end."""
    url = room.create()
    with ThreadClient(http2=True) as client:
        numbers = [client.post(url, json=[number]).extensions["stream_id"] for number in range(50)]
    assert numbers.count(1) <= 5


def test_a_connection_that_its_server_ended_is_not_used_again(
    server_factory: ServerFactory, listener: str, version: str, authority: Authority
) -> None:
    """An append that is not tried again would fail, and nobody would know whether it was written."""
    tls = authority.flags if version == "HTTP/2" else ()
    server = server_factory("--listener", listener, "--keep-alive", "0.2", *tls)
    handle = DurableStream(f"{server.url}/v1/stream/idle", retry=NEVER)
    handle.create("application/json")
    for number in range(4):
        handle.append(number)
        time.sleep(0.6)  # it is idle for too long
    assert handle.stream().json() == [0, 1, 2, 3]


@ONLY_HTTP2
def test_a_body_left_unread_costs_its_connection_alone(room: Room) -> None:
    url = room.create("application/json", b"[" + b"1," * 100_000 + b"1]")
    with ThreadClient(http2=True) as client:
        with client.stream("GET", url) as left:
            next(left.iter_raw())
            assert client.get(url).extensions["stream_id"] == 1, "it has a connection of its own"
        again = client.get(url)
        assert again.extensions["stream_id"] == 3, "of the one that was read"


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With connections of their own, too: nothing listens there, and the request goes nowhere else."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with ThreadClient(http2=True) as client, pytest.raises(httpx.ConnectError):
        client.get("https://127.0.0.1:1/")
