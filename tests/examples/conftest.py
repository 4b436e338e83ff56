"""The examples as their readers start them: `python -m examples.NAME`, in processes of their own."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.browser import CHROMIUM, Browser
from support.site import Site, StartSite

WITHOUT_BROWSER = pytest.StashKey[list[str]]()


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[StartSite]:
    """Start a web example: `start_site("examples.chat", NAME="value")`; ended by Ctrl-C behind the test."""
    with contextlib.ExitStack() as running:

        def start(module: str, **environment: str) -> Site:
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            site = Site(module, tmp_path / "data", environment, port)
            site.start()
            running.callback(site.close)
            return site

        yield start


@pytest.fixture(scope="session")
def browser_or_none(request: pytest.FixtureRequest) -> Iterator[Browser | None]:
    """The browser; where none is installed, nothing, and the summary says so."""
    if CHROMIUM is None:
        yield None
    else:
        with Browser() as browser:
            yield browser


@pytest.fixture
def browser(browser_or_none: Browser | None, request: pytest.FixtureRequest) -> Browser | None:
    """The browser for one test, or nothing: then the test says the same over HTTP."""
    if browser_or_none is None:
        request.config.stash.setdefault(WITHOUT_BROWSER, []).append(request.node.nodeid)
    return browser_or_none


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Be loud about what was not looked at in a browser."""
    for name in config.stash.get(WITHOUT_BROWSER, []):
        terminalreporter.write_line(
            f"NO BROWSER: {name} drove HTTP only; install chromium to test the page itself",
            red=True,
            bold=True,
        )


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """An HTTP client."""
    with httpx.Client(timeout=20) as client:
        yield client
