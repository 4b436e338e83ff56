"""The commands against the reference server (nothing in them is for ours alone, but `list`), and in ours' other cells.

All other tests here run at the native listener over HTTP/1.1. Over https the commands speak HTTP/2, but for `list`
and `bench`.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from durastream.testing import LocalServer
from support.cells import Authority

from .conftest import Run


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    """Where the reference server (npm) has its streams."""
    with subprocess.Popen(
        ["node", Path(__file__).with_name("reference.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip() + "/v1/stream"
        server.stdin.close()


def test_every_command_works_with_the_reference_server(run: Run, reference: str) -> None:
    every_command(run, reference)


@pytest.mark.parametrize(
    ("listener", "version"), [("native", "2"), ("hypercorn", "1.1"), ("hypercorn", "2")]
)
def test_every_command_works_in_every_cell(
    run: Run, tmp_path: Path, authority: Authority, listener: str, version: str
) -> None:
    flags = ("--listener", listener, "--access-log", "full", "--long-poll-timeout", "2")
    with LocalServer(tmp_path, (*flags, *(authority.flags if version == "2" else ()))) as server:
        every_command(run, server.url)
    assert set(re.findall(r" target=\S+ version=(\S+)", server.log)) == {version}


def every_command(run: Run, reference: str) -> None:
    at = ("--url", reference)
    assert run("create", "orders", "--json", *at).status == 0
    assert run("create", "orders", "--content-type", "text/plain", *at).status == 4
    assert run("write", "orders", "1", "[2]", *at).status == 0
    lines = "".join(f"{number}\n" for number in range(100)).encode()
    for _ in range(2):
        producer = ("--lines", "--producer", "p")
        assert run("write", "orders", *producer, *at, stdin=lines).status == 0
    for _ in range(2):
        once = ("--lines", "--producer", "p", "--create", "--content-type", "text/plain", "--close")
        assert run("write", "closed", *once, *at, stdin=lines).status == 0
    expected = ["1", "[2]", *map(str, range(100))]
    assert run("read", "orders", *at).lines == expected
    assert run("fork", "orders", "branch", *at).lines == [f"{reference}/branch"]
    assert run("close", "branch", '"end"', *at).status == 0
    for live in ("sse", "long-poll"):
        assert run("read", "branch", "--live", live, *at).lines == [*expected, '"end"']
    assert "closed" in run("head", "branch", *at).out.decode()
    assert run("write", "branch", "1", *at).status == 4
    assert run("delete", "branch", "orders", *at).status == 0
    assert run("read", "orders", *at).status == 3


def test_a_server_without_the_extension_is_told_as_such(run: Run, reference: str) -> None:
    ended = run("list", "--url", reference)
    assert ended.status == 1
    assert "does not list its streams" in ended.err


def test_bench_runs_against_it(run: Run, reference: str) -> None:
    load = ("--seconds", "200ms", "--writers", "2", "--readers", "2")
    ended = run("bench", reference, *load)
    assert ended.status == 0, ended.err
    assert "appends" in ended.out.decode()
