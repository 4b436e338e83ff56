"""What no other attempt would mend is told at once: a certificate that is not trusted, TLS on one side only."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from durastream.client import BadRequest, ConnectionFailed, Retry
from durastream.client.core import clients
from support.server import Server

from .faces import Face

pytestmark = pytest.mark.anyio
PATIENT = Retry()
AT_ONCE = 3.0
"""Seconds; the first two retries alone may take less, all of them take 15 and more."""


@pytest.fixture(scope="module")
def behind_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stream's URL at a server whose authority nobody knows."""
    directory = tmp_path_factory.mktemp("tls")
    both = str(directory / "both.pem")
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(Path(both))
    server = Server(directory / "data", ("--tls-cert", both, "--tls-key", both))
    server.start()
    yield f"{server.url}/v1/stream/x"
    server.kill()


@pytest.fixture(scope="module")
def without_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Server(tmp_path_factory.mktemp("plain") / "data")
    server.start()
    yield f"{server.url}/v1/stream/x"
    server.kill()


async def refused(face: Face, url: str, way: str) -> str:
    began = time.monotonic()
    with pytest.raises(ConnectionFailed) as failure:
        await use(face, url, way)
    assert time.monotonic() - began < AT_ONCE
    assert not failure.value.maybe_written
    return str(failure.value)


async def use(face: Face, url: str, way: str) -> Any:  # noqa: ANN401
    if way == "read":
        async with face.read(url, retry=PATIENT) as response:
            return await response.read()
    handle = face.handle(url, retry=PATIENT, content_type="text/plain")
    if way == "append":
        return await handle.append("x")
    async with face.producer(handle, "p") as producer:
        await producer.append("x")
    return None


@pytest.mark.parametrize("way", ["read", "append", "produce"])
async def test_a_certificate_that_is_not_trusted(face: Face, behind_tls: str, way: str) -> None:
    told = await refused(face, behind_tls, way)
    assert "its certificate is not trusted (" in told
    assert "SSL_CERT_FILE" in told


@pytest.mark.parametrize("way", ["read", "append", "produce"])
async def test_http_spoken_to_a_server_of_tls(face: Face, behind_tls: str, way: str) -> None:
    told = await refused(face, behind_tls.replace("https://", "http://"), way)
    assert "if it speaks TLS, its URL begins with https://" in told


@pytest.mark.parametrize("way", ["read", "append", "produce"])
async def test_tls_spoken_to_a_server_of_http(face: Face, without_tls: str, way: str) -> None:
    told = await refused(face, without_tls.replace("http://", "https://"), way)
    assert "it does not speak TLS: its URL begins with http://" in told


@pytest.mark.parametrize("way", ["read", "append", "produce"])
async def test_certificates_that_cannot_be_loaded(
    face: Face, behind_tls: str, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    clients._certificates.cache_clear()
    try:
        with pytest.raises(BadRequest, match=r"SSL_CERT_FILE=.*nowhere\.pem"):
            await use(face, behind_tls, way)
    finally:
        clients._certificates.cache_clear()
