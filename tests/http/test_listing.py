"""The extension `GET /__durastream/streams`: which streams there are."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from conftest import ServerFactory
from support.cells import SPOKEN

PATHS = ["a/1", "a/2", "a/ü x", "b"]
LISTING = "/__durastream/streams"


@pytest.fixture
def client(server_factory: ServerFactory, version: str) -> Iterator[httpx.Client]:
    server = server_factory("--listing", "on")
    with httpx.Client(base_url=server.url, timeout=10, **SPOKEN[version]) as client:
        for path in PATHS:
            client.put(f"/v1/stream/{path}", content=b"xyz").raise_for_status()
        yield client
        assert client.get("/health").http_version == version


def listed(client: httpx.Client, **parameters: str | int) -> dict[str, Any]:
    answer = client.get(LISTING, params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    found: dict[str, Any] = answer.json()
    return found


def paths(found: dict[str, Any]) -> list[str]:
    return [stream["path"] for stream in found["streams"]]


def test_all_streams_come_in_order_with_what_head_says_of_them(client: httpx.Client) -> None:
    closed = {"stream-closed": "true", "content-type": "text/plain", "stream-ttl": "60"}
    client.put("/v1/stream/closed", headers=closed).raise_for_status()
    found = listed(client)
    assert paths(found) == [*PATHS, "closed"]
    assert found["cursor"] is None
    for stream in found["streams"]:
        head = client.head(f"/v1/stream/{stream['path']}").headers
        assert stream["next_offset"] == head["stream-next-offset"]
        assert stream["content_type"] == head["content-type"]
        assert stream["closed"] == ("stream-closed" in head)
        assert stream["ttl_seconds"] == (60 if stream["path"] == "closed" else None)
        assert stream["created_at"].endswith("+00:00")


def test_pages_go_on_from_their_cursor_and_stay_below_the_prefix(client: httpx.Client) -> None:
    first = listed(client, prefix="a/", limit=2)
    assert paths(first) == ["a/1", "a/2"]
    second = listed(client, prefix="a/", limit=2, cursor=first["cursor"])
    assert paths(second) == ["a/ü x"]
    assert second["cursor"] is None
    assert paths(listed(client, prefix="a/ü")) == ["a/ü x"]
    assert paths(listed(client, prefix="nothing")) == []


BAD_QUERIES = (
    *("limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=%D9%A1", "limit=1&limit=2"),
    *("prefix=a&prefix=b", "prefix=%ff", "limit=" + "9" * 5000),
)


def test_what_cannot_be_meant_is_refused_with_what_could_be(client: httpx.Client) -> None:
    for query in BAD_QUERIES:
        answer = client.get(f"{LISTING}?{query}")
        assert answer.status_code == 400, query
        assert answer.headers["content-type"] == "application/problem+json"
        assert "give" in answer.json()["detail"] or "encode" in answer.json()["detail"]


def test_other_methods_are_refused(client: httpx.Client) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = client.request(method, LISTING)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert client.head(LISTING).content == b""
    assert client.options(LISTING).status_code == 204


@pytest.mark.parametrize("flags", [(), ("--listing", "off")])
def test_nobody_is_told_unless_the_server_was_told_to(
    server_factory: ServerFactory, version: str, flags: tuple[str, ...]
) -> None:
    server = server_factory(*flags)
    with httpx.Client(**SPOKEN[version]) as client:
        assert client.get(server.url + LISTING).status_code == 404
