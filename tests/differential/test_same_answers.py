"""Both listeners, over both versions of HTTP, give the same answers to the same requests."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import ServerFactory
from durastream.settings import LISTENERS
from support.server import Server

from .malformed import DIFFERENT, MALFORMED
from .replay import Answer, exchange, over_http1, over_http2, parse, replay
from .requests import everything

FLAGS = ("--long-poll-timeout", "0.2", "--sse-max", "0.2", "--durability", "none")
VERSIONS = {"HTTP/1.1": over_http1, "HTTP/2": over_http2}
LEAST = 900


@pytest.fixture
def listener() -> str:
    return "native"


@pytest.fixture
def start(server_factory: ServerFactory, tmp_path: Path) -> Callable[[str, str], Server]:
    def start(listener: str, name: str) -> Server:
        return server_factory("--listener", listener, *FLAGS, data=tmp_path / name)

    return start


@pytest.mark.timeout(300)
def test_every_branch_of_the_protocol_is_answered_alike(
    start: Callable[[str, str], Server],
) -> None:
    asks = everything()
    assert len(asks) >= LEAST
    kinds = [(listener, version) for listener in LISTENERS for version in VERSIONS]
    servers = [start(listener, f"{listener}-{version[-1]}") for listener, version in kinds]
    with ThreadPoolExecutor(len(kinds)) as pool:
        running = [
            pool.submit(replay, server.port, asks, VERSIONS[version])
            for server, (_, version) in zip(servers, kinds, strict=True)
        ]
        recorded = [answers.result() for answers in running]
    statuses = Counter(answer.status for answer in recorded[0])
    # The set reaches what it is meant to reach.
    assert {200, 201, 204, 304, 400, 403, 404, 405, 409, 410, 501} <= set(statuses), statuses
    assert not [status for status in statuses if status >= 500 and status != 501]
    differences = [
        f"{ask}\n  {kinds[0]}: {first}\n  {kind}: {other}"
        for kind, answers in zip(kinds[1:], recorded[1:], strict=True)
        for ask, first, other in zip(asks, recorded[0], answers, strict=True)
        if first != other
    ]
    assert not differences, f"{len(differences)} differ:\n" + "\n".join(differences[:20])


def answers_to(server: Server, request: bytes) -> list[Answer]:
    """One answer and the end of the connection, or nothing."""
    raw = exchange(server.port, request, half_close=True)
    if not raw:
        return []
    status, fields, _ = parse(raw)
    kept = [(name, value) for name, value in fields if name in ("connection", "content-type")]
    return [Answer(status, sorted(kept), b"")]


def test_what_is_malformed_is_refused_alike(start: Callable[[str, str], Server]) -> None:
    native, trio = (start(listener, listener) for listener in ("native", "hypercorn"))
    differ = {}
    for name, request in MALFORMED.items():
        ours, theirs = answers_to(native, request), answers_to(trio, request)
        if ours != theirs:
            differ[name] = ([a.status for a in ours], [a.status for a in theirs])
    assert differ == DIFFERENT, "\n".join(f"{k!r}: {v}" for k, v in differ.items())
