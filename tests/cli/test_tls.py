"""The commands over https, with an authority of one's own, at either listener."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from durastream.settings import LISTENERS
from durastream.testing import LocalServer

from .conftest import Run

AT_ONCE = 4.0
"""Seconds; with retries it takes 5 and what a command needs to begin."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of an authority; beside it one for the server, with its key."""
    directory = tmp_path_factory.mktemp("authority")
    made = trustme.CA()
    made.cert_pem.write_to_path(directory / "ca.pem")
    made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        directory / "server.pem"
    )
    return directory / "ca.pem"


@pytest.fixture(params=LISTENERS)
def url(request: pytest.FixtureRequest, tmp_path: Path, authority: Path) -> Iterator[str]:
    pem = str(authority.with_name("server.pem"))
    flags = ("--listener", request.param, "--tls-cert", pem, "--tls-key", pem)
    with LocalServer(tmp_path, flags) as server:
        assert server.url.startswith("https://")
        yield server.url


def test_commands_trust_the_authority_that_is_named_and_no_other(
    run: Run, url: str, authority: Path
) -> None:
    trusting = ("--url", url, "--ca-cert", authority)
    assert run("create", "a/b", "--json", *trusting).lines == [f"{url}/a/b"]
    assert run("write", "a/b", "1", "2", "--producer", "p", *trusting).status == 0
    assert run("read", "a/b", *trusting).lines == ["1", "2"]
    assert run("list", *trusting).lines == ["a/b"]
    for command in (["head", "a/b"], ["list"]):
        began = time.monotonic()
        refused = run(*command, "--url", url)
        assert time.monotonic() - began < AT_ONCE
        assert refused.status == 5
        assert "certificate" in refused.err.lower()
        assert "--ca-cert" in refused.err
    plain = run("read", "a/b", "--url", url.replace("https://", "http://"))
    assert plain.status == 5
    assert "its URL begins with https://" in plain.err
