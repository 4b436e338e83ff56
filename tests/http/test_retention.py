"""How much of a stream is kept, over both listeners."""

import time
from collections.abc import Iterator

import httpx
import pytest

from conftest import ServerFactory

from .conftest import Room

LIMITS = ("stream-retention-bytes", "stream-retention-seconds", "stream-retention-events")


@pytest.fixture
def kept(server_factory: ServerFactory, version: str) -> Iterator[Room]:
    with Room(server_factory().url, version) as room:
        yield room


def limits(reply: httpx.Response) -> tuple[str | None, ...]:
    return tuple(reply.headers.get(name) for name in LIMITS)


def test_limits_are_set_told_and_changed(kept: Room) -> None:
    client = kept.client
    headers = {"Content-Type": "text/plain", "Stream-Retention-Events": "2"}
    created = client.put("/a", headers=headers)
    assert (created.status_code, limits(created)) == (201, (None, None, "2"))
    assert client.put("/a", headers=headers).status_code == 200
    assert client.put("/a", headers={"Content-Type": "text/plain"}).status_code == 200
    assert client.put("/a", headers={**headers, "Stream-Retention-Events": "3"}).status_code == 409
    changed = client.patch("/a", headers={"Stream-Retention-Seconds": "60"})
    assert (changed.status_code, changed.content, limits(changed)) == (204, b"", (None, "60", "2"))
    changed = client.patch("/a", headers={"Stream-Retention-Events": "none"})
    assert limits(changed) == (None, "60", None)
    assert limits(client.head("/a")) == (None, "60", None)


def test_what_lies_beyond_a_limit_is_gone(kept: Room) -> None:
    path, start = kept.stream("text/plain", b"one", **{"Stream-Retention-Events": "1"})
    kept.append(path, b"two")
    kept.append(path, b"three")
    end = time.monotonic() + 10
    while (content := kept.content(path)) != b"three":
        assert content in {b"onetwothree", b"twothree"}
        assert time.monotonic() < end
        time.sleep(0.05)
    gone = kept.client.get(f"/{path}", params={"offset": start})
    assert gone.status_code == 410
    assert gone.json()["type"].endswith("offset-gone")


@pytest.mark.parametrize("body", [b"", b'{"max_events": 3}'])
def test_a_patch_that_changes_nothing_says_what_would(kept: Room, body: bytes) -> None:
    path, _ = kept.stream("text/plain", b"x")
    refused = kept.client.patch(f"/{path}", content=body)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Stream-Retention-Events" in refused.json()["detail"]
    for bad in ("0", "-1", "01", "many"):
        refused = kept.client.patch(f"/{path}", headers={"Stream-Retention-Bytes": bad})
        assert (refused.status_code, refused.json()["header"]) == (400, "stream-retention-bytes")
    assert kept.client.patch("/missing", headers={"Stream-Retention-Bytes": "1"}).status_code == 404
    assert kept.content(path) == b"x"


def test_a_page_may_change_limits_and_see_them(kept: Room) -> None:
    origin = {"Origin": "https://a.example"}
    preflight = kept.client.options(
        "/a", headers={**origin, "Access-Control-Request-Method": "PATCH"}
    )
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    allowed = preflight.headers["access-control-allow-headers"].lower()
    exposed = (
        kept.client.head("/a", headers=origin).headers["access-control-expose-headers"].lower()
    )
    for name in LIMITS:
        assert name in allowed
        assert name in exposed
