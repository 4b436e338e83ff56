"""What the client loads: of event loops and of certificates only what a program uses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

import durastream.client
from support.cells import ONLY_HTTP1
from support.server import Server

from .conftest import ONLY_NATIVE, Room

THREADS = """
import json, sys
from durastream.client import DurableStream, IdempotentProducer, stream
from durastream.client.core import clients
with IdempotentProducer(DurableStream(sys.argv[1]), "p") as producer:
    producer.append(1)
with stream(sys.argv[1]) as response:
    assert response.json() == [1]
print(json.dumps([sorted(sys.modules), clients._certificates.cache_info().currsize]))
"""
COMMAND = """
import json, sys
from durastream.cli import main
status = main(sys.argv[1:])
from durastream.client.core import clients
print(json.dumps([status, sorted(sys.modules), clients._certificates.cache_info().currsize]))
"""
OVER_TLS = """
import sys
import anyio, httpx
from durastream.client import aio, wire

async def on_a_loop(url: str) -> str:
    async with aio.wire.own_client() as client:
        return (await client.get(url)).http_version

name, url = sys.argv[1:]
try:
    if name == "threads":
        print(wire.shared_client().get(url).http_version)
    else:
        print(anyio.run(on_a_loop, url, backend=name))
except httpx.ConnectError as error:
    cause = error
    while cause is not None:
        print(cause)
        cause = cause.__cause__ or cause.__context__
"""


def ran(program: str, *arguments: str, **changes: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=60, env=os.environ | changes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@ONLY_NATIVE
@ONLY_HTTP1
def test_threads_load_neither_the_twins_for_loops_nor_certificates(room: Room) -> None:
    modules, certificates = json.loads(ran(THREADS, room.create()))
    assert not [name for name in modules if name.startswith("durastream.client.aio")]
    assert certificates == 0


@ONLY_NATIVE
@ONLY_HTTP1
@pytest.mark.parametrize("command", ["head", "read", "write", "list"])
def test_a_command_loads_no_event_loop_and_no_certificates(room: Room, command: str) -> None:
    url = room.create()
    arguments = {
        "head": ["head", url],
        "read": ["read", url],
        "write": ["write", url, "1", "--producer", "p"],
        "list": ["list", "--url", f"{room.server}/v1/stream", "--limit", "1"],
    }
    printed = ran(COMMAND, *arguments[command]).splitlines()[-1]
    status, modules, certificates = json.loads(printed)
    assert status == (1 if command == "list" else 0)  # this server has no listing
    loops = {"asyncio", "trio", "anyio", "durastream.client.aio", "click"}
    assert not loops & set(modules)
    assert certificates == 0


@pytest.mark.parametrize("name", ["threads", "trio", "asyncio"])
def test_certificates_are_loaded_and_checked_over_tls(tmp_path: Path, name: str) -> None:
    ours, other = str(tmp_path / "ours.pem"), str(tmp_path / "other.pem")
    both = str(tmp_path / "both.pem")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    authority.cert_pem.write_to_path(ours)
    trustme.CA().cert_pem.write_to_path(other)
    server = Server(tmp_path / "data", ("--tls-cert", both, "--tls-key", both))
    server.start()
    try:
        url = f"{server.url}/health"
        assert ran(OVER_TLS, name, url, SSL_CERT_FILE=ours) == "HTTP/2\n"
        assert "certificate verify failed" in ran(OVER_TLS, name, url, SSL_CERT_FILE=other)
    finally:
        server.kill()


def test_every_name_is_there_and_told() -> None:
    for name in durastream.client.__all__:
        assert getattr(durastream.client, name) is not None
    assert set(durastream.client.__all__) <= set(dir(durastream.client))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = durastream.client.nonsense  # type: ignore[attr-defined]
