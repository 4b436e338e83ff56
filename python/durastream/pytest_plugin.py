"""Fixtures for the tests of programs that use durable streams; pytest finds them by itself.

    def test_orders_arrive(durable_streams_server):
        url = durable_streams_server.stream_url("orders")
        ...

    def test_with_the_log_alone(log_engine):
        log_engine.create("orders")

This module imports nothing but pytest: it is loaded by every run in an environment that has this package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durastream.engine import LogEngine
    from durastream.testing import LocalServer

_SERVER: pytest.StashKey[LocalServer] = pytest.StashKey()
SEGMENT_BYTES = 4 << 20


def pytest_addoption(parser: pytest.Parser) -> None:
    """The one setting."""
    parser.addini(
        "durable_streams_args",
        "flags of `durable-streams serve` for the server of durable_streams_server",
        type="args",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the server again if an earlier test left it dead."""
    server = item.config.stash.get(_SERVER, None)
    if server is not None and "durable_streams_server" in getattr(item, "fixturenames", ()):
        server.start()


@pytest.fixture(scope="session")
def durable_streams_server(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[LocalServer]:
    """A real server on a free port of loopback with a temporary directory, one for the whole session.

    `url` is where streams live, `stream_url(path)` the URL of one, `data` the data directory. `kill`,
    `stop`, `start` and `restart` do what they say; the URL stays and so does what was acknowledged, and
    the next test finds the server running. Tests share it: let each use paths of its own. More flags of
    `serve` go in the ini option `durable_streams_args`.
    """
    # Imported late, like all but pytest: only a run that uses it pays for it.
    from durastream.testing import LocalServer  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("durable-streams-server")
    with LocalServer(directory, pytestconfig.getini("durable_streams_args")) as server:
        pytestconfig.stash[_SERVER] = server
        try:
            yield server
        finally:
            del pytestconfig.stash[_SERVER]


@pytest.fixture
def log_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LogEngine]:
    """An open, empty `LogEngine` in a temporary directory, of this test alone; closed behind it.

    Its durability is `none`: a test need not wait for the disk.
    """
    from durastream.engine import LogEngine  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("log-engine")
    with LogEngine(directory, durability="none", segment_bytes=SEGMENT_BYTES) as log:
        yield log
