"""The protocol layer's binding: one request after the other, without a socket."""

import json
import select
import threading
import time
from pathlib import Path

import pytest

from durastream import EngineClosed, LogEngine
from durastream._native import (
    STEP_NEED_BODY,
    STEP_RESPOND,
    CompletionQueue,
    Exchange,
    Service,
)

JSON = (b"content-type", b"application/json")


@pytest.fixture
def service(log: LogEngine) -> Service:
    return Service(log._native, long_poll_timeout=5, base_paths=["/v1/stream"])


def begin(
    service: Service, method: str, path: bytes, *fields: tuple[bytes, bytes], query: bytes = b""
) -> Exchange:
    return service.begin(method, path, query, list(fields), "http", "localhost:4437", "")


def answer(
    exchange: Exchange, queue: CompletionQueue, body: bytes = b""
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Do what a listener does, until the response."""
    token = 0
    while True:
        step = exchange.step()
        if step[0] == STEP_RESPOND:
            return step[1], dict(step[2]), b"".join(map(bytes, step[3]))
        if step[0] == STEP_NEED_BODY:
            assert len(body) <= step[1]
            exchange.body(body)
        elif step[0] == Exchange.WAIT:
            token += 1
            exchange.register(queue, token)
            seconds = step[1]
            assert select.select([queue], [], [], 10 if seconds is None else seconds)[0]
            for woken, failure in queue.drain():
                assert (woken, failure) == (token, None)
        elif step[0] == Exchange.BLOCK:
            exchange.block()
        else:
            raise AssertionError(step)


def test_put_post_and_get(service: Service) -> None:
    queue = CompletionQueue()
    path = b"/v1/stream/a"
    status, headers, _ = answer(begin(service, "PUT", path, JSON), queue)
    assert status == 201
    assert headers[b"location"] == b"http://localhost:4437/v1/stream/a"
    status, headers, _ = answer(begin(service, "POST", path, JSON), queue, b'{"n": 1}')
    assert status == 204
    tail = headers[b"stream-next-offset"]
    status, headers, body = answer(begin(service, "GET", path), queue)
    assert (status, body) == (200, b'[{"n": 1}]')
    assert headers[b"stream-next-offset"] == tail
    queue.close()


def test_headers_may_be_lists_and_any_iterable(service: Service) -> None:
    queue = CompletionQueue()
    exchange = service.begin("PUT", b"/v1/stream/a", b"", iter([list(JSON)]), "http", "h", "")
    assert answer(exchange, queue)[0] == 201
    with pytest.raises(TypeError):
        service.begin("PUT", b"/v1/stream/a", b"", [("a", "b")], "http", "h", "")  # type: ignore[list-item]
    queue.close()


def test_a_large_page_comes_in_few_pieces(service: Service, log: LogEngine) -> None:
    log.create("a")
    log.append_many([("a", b"x" * 100)] * 5000)
    log.append("a", b"y" * 100_000)
    exchange = begin(service, "GET", b"/v1/stream/a")
    step = exchange.step()
    assert step[0] == STEP_RESPOND
    pieces = step[3]
    assert b"".join(map(bytes, pieces)) == b"x" * 500_000 + b"y" * 100_000
    assert len(pieces) < 20
    assert memoryview(pieces[-1]).nbytes == 100_000


def test_a_long_poll_wakes_for_an_append(service: Service, log: LogEngine) -> None:
    log.create("a")
    queue = CompletionQueue()
    exchange = begin(service, "GET", b"/v1/stream/a", query=b"offset=now&live=long-poll")
    step = exchange.step()
    assert step[0] == Exchange.WAIT
    assert step[1] is not None
    assert 0 < step[1] <= 5
    exchange.register(queue, 9)
    assert not select.select([queue], [], [], 0.05)[0]
    log.append("a", b"abc")
    assert select.select([queue], [], [], 5)[0]
    assert queue.drain() == [(9, None)]
    assert answer(exchange, queue)[2] == b"abc"
    queue.close()


def test_closing_an_exchange_withdraws_its_watch(service: Service, log: LogEngine) -> None:
    log.create("a")
    queue = CompletionQueue()
    exchanges = [
        begin(service, "GET", b"/v1/stream/a", query=b"offset=now&live=long-poll") for _ in range(3)
    ]
    for exchange in exchanges:
        assert exchange.step()[0] == Exchange.WAIT
        exchange.register(queue, 1)
    assert log.stats().watches == 3
    exchanges[0].close()
    exchanges[0].close()
    del exchange, exchanges[1:]
    assert log.stats().watches == 0
    with pytest.raises(RuntimeError, match="closed"):
        exchanges[0].step()
    queue.close()


def test_shutting_down_ends_long_polls(service: Service, log: LogEngine) -> None:
    log.create("a")
    exchange = begin(service, "GET", b"/v1/stream/a", query=b"offset=now&live=long-poll")
    assert exchange.step()[0] == Exchange.WAIT
    service.shut_down()
    step = exchange.step()
    assert step[0] == STEP_RESPOND
    assert step[1] in (200, 204)


def test_a_thread_in_an_exchange_holds_up_nobody(service: Service, log: LogEngine) -> None:
    """While one thread validates a large body, another may close the exchange."""
    log.create("a", content_type="application/json")
    body = b"[" + b"1," * (16 << 20) + b"1]"
    for delay in (0.0, 0.01, 0.05, 0.1):
        exchange = begin(service, "POST", b"/v1/stream/a", JSON)
        assert exchange.step()[0] == STEP_NEED_BODY

        def work(exchange: Exchange = exchange) -> None:
            try:
                exchange.body(body)
                exchange.step()
            except RuntimeError as error:
                assert "closed" in str(error)  # noqa: PT017

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(delay)
        exchange.close()
        thread.join(30)
        assert not thread.is_alive()


def test_a_problem_is_json_that_says_what_was_wrong(service: Service) -> None:
    status, headers, body = service.problem(503, "Busy", "try again")
    assert status == 503
    assert dict(headers)[b"content-type"] == b"application/problem+json"
    assert json.loads(body)["detail"] == "try again"


def test_routes_are_the_base_paths(service: Service) -> None:
    assert service.routes(b"/v1/stream/a")
    assert not service.routes(b"/health")


@pytest.mark.parametrize("options", [{"long_poll_timeout": -1}, {"base_paths": ["no slash?"]}])
def test_impossible_settings_are_refused(log: LogEngine, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Service(log._native, **options)  # type: ignore[arg-type]


def test_a_service_of_a_closed_log_is_refused(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.close()
    with pytest.raises(EngineClosed):
        Service(log._native)
