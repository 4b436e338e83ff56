"""Certificates that change under a running server, the Unix socket, and the command line over https."""

import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import trustme

from conftest import ServerFactory
from support.server import COMMAND, Server

TEXT = {"content-type": "text/plain"}


def issue(directory: Path) -> trustme.CA:
    """Put a certificate of a new authority into the directory."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    (directory / "new.pem").write_bytes(chain)
    (directory / "new.pem").replace(directory / "cert.pem")
    issued.private_key_pem.write_to_path(directory / "key.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    return authority


def serving(factory: ServerFactory, directory: Path, *flags: str) -> Server:
    files = ("--tls-cert", str(directory / "cert.pem"), "--tls-key", str(directory / "key.pem"))
    return factory(*files, *flags)


def trusts(server: Server, authority: trustme.CA) -> bool:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        with httpx.Client(verify=context) as client:
            return client.get(f"{server.url}/health").status_code == 200
    except httpx.ConnectError:
        return False


def wait_until_trusted(server: Server, authority: trustme.CA, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not trusts(server, authority):
        assert time.monotonic() < deadline, server.log
        time.sleep(0.2)


def test_sighup_serves_a_new_certificate_and_keeps_connections(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    first = issue(tmp_path)
    server = serving(server_factory, tmp_path)
    context = ssl.create_default_context()
    first.configure_trust(context)
    with httpx.Client(verify=context) as kept:
        assert kept.get(f"{server.url}/health").status_code == 200
        second = issue(tmp_path)
        server.process.send_signal(signal.SIGHUP)
        wait_until_trusted(server, second, 5)
        assert not trusts(server, first)
        assert kept.get(f"{server.url}/health").status_code == 200


def test_a_broken_certificate_leaves_the_one_before(
    server_factory: ServerFactory, tmp_path: Path
) -> None:
    first = issue(tmp_path)
    server = serving(server_factory, tmp_path)
    (tmp_path / "cert.pem").write_text("nonsense")
    server.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert trusts(server, first)
    assert "the certificate stays as it was" in server.log


@pytest.mark.parametrize("listener", ["native"])
def test_the_native_listener_notices_changed_files(
    server_factory: ServerFactory, tmp_path: Path, listener: str
) -> None:
    issue(tmp_path)
    server = serving(server_factory, tmp_path)
    second = issue(tmp_path)
    wait_until_trusted(server, second, 15)


@pytest.mark.parametrize("listener", ["native"])
def test_the_command_line_speaks_to_an_authority_of_its_own(
    server_factory: ServerFactory, tmp_path: Path, listener: str
) -> None:
    issue(tmp_path)
    server = serving(server_factory, tmp_path, "--listing", "on")
    base = ("--url", f"{server.url}/v1/stream", "--ca-cert", str(tmp_path / "ca.pem"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    made = run("create", *base, "a", "--content-type", "text/plain")
    assert made.returncode == 0, made.stderr
    assert run("write", *base, "a", "hidden").returncode == 0
    assert run("read", *base, "a").stdout == "hidden"
    listed = run("list", *base)
    assert (listed.returncode, "a" in listed.stdout) == (0, True), listed.stderr
    assert run("read", *base[:2], "a").returncode != 0


@pytest.mark.parametrize("listener", ["native"])
def test_everything_is_served_over_a_unix_socket(
    server_factory: ServerFactory, tmp_path: Path, listener: str
) -> None:
    path = tmp_path / "streams.sock"
    # What a server that was killed left behind.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = server_factory("--unix", str(path), "--listing", "on")
    transport = httpx.HTTPTransport(uds=str(path))
    with httpx.Client(transport=transport, base_url="http://local") as client:
        assert client.put("/v1/stream/a", headers=TEXT, content=b"one ").status_code == 201
        assert client.post("/v1/stream/a", headers=TEXT, content=b"two").status_code == 204
        assert client.get("/v1/stream/a").content == b"one two"
        assert httpx.get(f"{server.url}/v1/stream/a").content == b"one two"
        assert client.get("/health").json() == {"status": "ok"}
        listed = client.get("/__durastream/streams").json()
        assert [stream["path"] for stream in listed["streams"]] == ["a"]
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path), http1=False, http2=True),
        base_url="http://local",
    ) as client:
        assert client.get("/v1/stream/a").content == b"one two"
    server.stop()
    assert not path.exists()


@pytest.mark.parametrize("listener", ["native"])
def test_only_the_owner_reaches_the_control_socket(server: Server, listener: str) -> None:
    place = server.data / "run" / "control.sock"
    assert (place.parent.stat().st_mode & 0o777, place.stat().st_mode & 0o777) == (0o700, 0o600)
    server.stop()
    assert not place.exists()
    # Killed, it leaves the socket; the next start takes its place.
    server.start()
    server.kill()
    assert os.path.lexists(place)
    server.start()
    assert httpx.get(f"{server.url}/health").status_code == 200
