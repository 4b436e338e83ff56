"""Fixtures and Hypothesis profiles for all tests."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from durastream.settings import LISTENERS
from support.cells import SPOKEN, Authority
from support.server import Server

# Whoever runs the tests in the background of a shell has Ctrl-C ignored, and would hand that on to every process here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A failure found by `make fuzz` is replayed first by every later run, quick ones too.
EXAMPLES = DirectoryBasedExampleDatabase(Path(__file__).parent.parent / "fuzz" / "examples")
COMMON = settings(
    database=EXAMPLES,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("ci", COMMON, max_examples=50, stateful_step_count=30)
settings.register_profile(
    "fuzz",
    COMMON,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")),
    stateful_step_count=60,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


AUTHORITY = pytest.StashKey[Authority]()


def pytest_configure(config: pytest.Config) -> None:
    """All programs of this run trust an authority of its own, and load no other."""
    config.stash[AUTHORITY] = Authority()
    os.environ.update(config.stash[AUTHORITY].variables)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    config.stash[AUTHORITY].close()


@pytest.fixture(scope="session")
def authority(pytestconfig: pytest.Config) -> Authority:
    """The authority that every client of this run trusts."""
    return pytestconfig.stash[AUTHORITY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the official suite did, in one line."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "conformance" and report.when == "call":
                    terminalreporter.write_line(value)


ServerFactory = Callable[..., Server]


@pytest.fixture(params=LISTENERS)
def listener(request: pytest.FixtureRequest) -> str:
    """Each listener in turn; a module for one of them overrides it."""
    return str(request.param)


@pytest.fixture(params=SPOKEN)
def version(request: pytest.FixtureRequest) -> str:
    """HTTP/1.1 and HTTP/2, as httpx names them; what is about one of them is marked so (`support.cells`)."""
    return str(request.param)


@pytest.fixture
def server_factory(tmp_path: Path, listener: str) -> Iterator[ServerFactory]:
    """Start real servers: `server_factory("--flag", "value", data=path)`.

    Each is stopped with SIGTERM when the test ends, and must then exit with status 0 in time,
    unless the test ended it itself.
    """
    with contextlib.ExitStack() as running:

        def start(*arguments: str, data: Path | None = None) -> Server:
            flags = ("--listener", listener, *arguments)
            server = Server(data or tmp_path / "data", flags)
            server.start()
            running.callback(server.close)
            return server

        yield start


@pytest.fixture
def server(server_factory: ServerFactory) -> Server:
    """A real server with default flags on an empty data directory of its own."""
    return server_factory()
