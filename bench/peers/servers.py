"""The contenders, and how each is started."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.peers import build
from bench.peers.processes import Running, Server, free_port, running

OURS = "durastream"
E = "E"
L = "L"
NGINX = "nginx"
LONG_POLL_SECONDS = 30
# Which listener the default contender uses: the one that `serve` takes by itself unless this names another.
LISTENER = os.environ.get("BENCH_LISTENER")

NGINX_CONFIGURATION = """
{user}
daemon off;
worker_processes auto;
error_log {home}/error.log;
pid {home}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    open_file_cache max=1000 inactive=60s;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    default_type application/octet-stream;
    server {{ listen 127.0.0.1:{port}; root {home}/files; }}
}}
"""


def ours(listener: str | None = None, *flags: str) -> Server:
    """`durable-streams serve` with the default listener, or with the one named."""
    name = listener or LISTENER
    chosen = ["--listener", name] if name else []

    @contextlib.contextmanager
    def start(home: Path) -> Iterator[Running]:
        port = free_port()
        program = str(Path(sys.executable).parent / "durable-streams")
        command = [program, "serve", "--data", str(home / "ours"), "--port", str(port)]
        command += ["--long-poll-timeout", str(LONG_POLL_SECONDS), *chosen, *flags]
        with running(command, port, home / "log") as server:
            yield server

    return Server(f"{OURS} ({listener})" if listener else OURS, start)


@contextlib.contextmanager
def _e(home: Path) -> Iterator[Running]:
    port = free_port()
    command = [build.peer_e(), "--port", str(port), "--data-dir", str(home / "e")]
    command += ["--durability", "wal", "--long-poll-timeout-ms", str(LONG_POLL_SECONDS * 1000)]
    (home / "e").mkdir(exist_ok=True)
    with running(command, port, home / "log") as server:
        yield server


def _limit(version: str) -> Server:
    @contextlib.contextmanager
    def start(home: Path) -> Iterator[Running]:
        port = free_port()
        with running([build.limit(), str(port), version], port, home / "log") as server:
            yield server

    return Server(L if version == "h1" else f"{L} ({version})", start)


@contextlib.contextmanager
def _nginx(home: Path) -> Iterator[Running]:
    port = free_port()
    configuration = home / "nginx.conf"
    # Its workers would leave root behind, and could not read a private directory.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(NGINX_CONFIGURATION.format(home=home, port=port, user=user))
    command = [build.program("nginx", "nginx-light"), "-c", str(configuration), "-p", str(home)]
    with running(command, port, home / "log") as server:
        yield server


@contextlib.contextmanager
def _node(home: Path) -> Iterator[Running]:
    port = free_port()
    with running(
        [*build.node_reference(), str(port), str(home / "node")], port, home / "log"
    ) as server:
        yield server


PEER_E = Server(E, _e)
LIMIT = _limit("h1")
LIMIT_H2 = _limit("h2")
STATIC = Server(NGINX, _nginx)
NODE = Server("Node reference", _node)
