"""A server on a disk that is full: 507 for appends, everything else goes on, and `/ready` says so."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conftest import ServerFactory
from support.disks import mounted

from .conftest import Room

SIZE = 24 << 20
FLAGS = ("--segment-bytes", "1MiB", "--reap-interval", "0.1")
PATIENCE = 60.0
SETTLED = 1.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SIZE) as path:
        yield path


@pytest.fixture
def full(disk: Path, server_factory: ServerFactory, version: str) -> Iterator[Room]:
    """Stopped before its disk is taken away."""
    with Room(server_factory(*FLAGS, data=disk / "data").url, version) as room:
        yield room


def ready(room: Room) -> httpx.Response:
    return httpx.get(f"{room.url}/ready")


def test_appends_are_refused_until_a_deletion_has_freed_space(full: Room) -> None:
    client, headers = full.client, {"Content-Type": "text/plain"}
    assert ready(full).json() == {"status": "ok"}
    assert client.put("/a", headers=headers).status_code == 201
    body = b"a" * 100_000
    taken = 0
    # The first refusals only last until checkpoints let the log go.
    refused = time.monotonic() + SETTLED
    while time.monotonic() < refused:
        reply = client.post("/a", headers=headers, content=body)
        assert reply.status_code in (204, 507)
        if reply.status_code == 204:
            taken += 1
            refused = time.monotonic() + SETTLED
        assert taken * len(body) < 2 * SIZE
    assert reply.status_code == 507
    assert reply.headers["content-type"] == "application/problem+json"
    told = ready(full)
    assert (told.status_code, told.json()["status"]) == (200, "full")
    assert client.get("/a").status_code == 200
    assert client.delete("/a").status_code == 204
    assert client.put("/b", headers=headers).status_code == 201
    deadline = time.monotonic() + PATIENCE
    left = taken // 2
    while left:
        status = client.post("/b", headers=headers, content=body).status_code
        assert status in (204, 507)
        left -= status == 204
        assert time.monotonic() < deadline, ready(full).text
        time.sleep(0.02 * (status == 507))
    assert ready(full).json() == {"status": "ok"}
