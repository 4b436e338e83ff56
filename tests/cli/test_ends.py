"""How commands end: statuses, messages, signals, pipes, terminals."""

import http.server
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import durastream
from durastream import commands as tools
from durastream.commands.remote import entry as remote
from durastream.testing import LocalServer
from support.server import COMMAND

from .conftest import Run, Start

COMMANDS = ("serve", *remote.COMMANDS, *tools.COMMANDS, "completion")
BAD_USAGE = (
    ["head", ""],
    ["head", "/"],
    ["head", "../x"],
    ["head", "http://127.0.0.1"],
    ["head", "ftp://127.0.0.1/x"],
    ["head", "x", "--url", "nonsense"],
    ["head", "x", "--header", "no colon"],
    ["head", "x", "--auth", "two\nlines"],
    ["head", "x", "--ca-cert", "/nowhere"],
    ["create", "x", "--json", "--data", "{"],
    ["create", "x", "--ttl", "-1"],
    ["create", "x", "--ttl", "1.5"],
    ["fork", "http://127.0.0.1:1/x", "http://127.0.0.1:2/y"],
    ["read", "x", "--resume", "/"],
    ["write", "x", "--file", "/nowhere", "--content-type", "text/plain"],
    ["write", "x", "1", "--file", "y"],
    ["write", "x", "1", "--epoch", "2"],
    ["write", "x", "1", "--ttl", "2"],
    ["write", "x", "1", "--producer", ""],
    ["bench", "--seconds", "3600"],
    ["nonsense"],
)


@pytest.mark.parametrize("arguments", BAD_USAGE, ids=" ".join)
def test_wrong_usage_is_told_before_anything_is_sent(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments, DURABLE_STREAMS_URL="http://127.0.0.1:1")
    assert (ended.status, ended.out) == (2, b"")
    assert "durable-streams" in ended.err


def test_what_is_missing_is_named_and_nothing_else(run: Run) -> None:
    ended = run("write")
    assert ended.status == 2
    assert "the following arguments are required: STREAM\n" in ended.err


def test_wrong_usage_that_only_the_server_sees(run: Run, path: str) -> None:
    run("create", path, "--json")
    ended = run("read", path, "--offset", "nonsense")
    assert (ended.status, ended.out) == (2, b"")
    assert "offset is -1, now" in ended.err


def test_a_server_that_is_not_there(run: Run) -> None:
    for command in (["head", "x"], ["list"], ["bench"]):
        ended = run(*command, "--url", "http://127.0.0.1:1")
        assert ended.status == 5, command
        assert "127.0.0.1:1" in ended.err


def test_no_token_is_shown_or_sent_where_it_does_not_belong(
    run: Run, path: str, durable_streams_server: LocalServer
) -> None:
    other = durable_streams_server.stream_url(path).replace("127.0.0.1", "localhost")
    ended = run("head", other, DURABLE_STREAMS_AUTH="sesame")
    assert "not sent to http://localhost" in ended.err
    assert "sesame" not in ended.err
    assert run("head", path, "--header", "sesame").err.count("sesame") == 0


def test_a_reader_that_goes_away_ends_it_at_once(start: Start, run: Run, path: str) -> None:
    run("create", path, "--json")
    run("write", path, *map(str, range(5)))
    with start("read", path, "--follow") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"0\n"
        # Nothing is appended: it has nothing to write, and ends all the same.
        following.stdout.close()
        assert following.wait(20) == -signal.SIGPIPE
        assert following.stderr is not None
        assert following.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_a_follower_tells_where_to_go_on(
    start: Start, run: Run, path: str, number: signal.Signals
) -> None:
    run("create", path, "--json")
    tail = run("write", path, "1", "--print-offset").lines[0]
    with start("read", path, "--follow", "--print-offset") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == b"1\n"
        time.sleep(0.2)
        following.send_signal(number)
        _, err = following.communicate(timeout=20)
    assert following.returncode == -number
    assert err.decode() == f"offset: {tail}\n"


def test_missing_credentials_have_a_status_of_their_own(run: Run) -> None:
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Bearer")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_HEAD  # noqa: N815  (their names are given)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for command in (["read", "x"], ["head", "x"], ["list"], ["bench", "--seconds", "1"]):
            ended = run(*command, "--url", f"http://127.0.0.1:{server.server_port}")
            assert ended.status == 6, command
            assert "--auth, or DURABLE_STREAMS_AUTH" in ended.err
            if command[0] in ("read", "head"):
                assert "credentials are missing or not enough" in ended.err
        server.shutdown()


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("read {0} >&-", 1, "standard output is closed"),
        ("read {0} --follow >&-", 1, "standard output is closed"),
        ("head {0} >&-", 1, "standard output is closed"),
        ("read {0} >/dev/full", 1, "No space left"),
        ("write {0} 1 >&-", 0, ""),
        ("write {0} <&-", 2, "standard input is closed"),
        ("read {0} <&- >/dev/null", 0, ""),
        ("read nowhere 2>&-", 3, ""),
        ("head '' 2>&-", 2, ""),
        ("read nowhere <&- >&- 2>&-", 3, ""),
    ],
)
def test_standard_files_that_the_shell_closed(
    run: Run, path: str, environment: dict[str, str], command: str, status: int, said: str
) -> None:
    run("create", path, "--json")
    run("write", path, "1")
    script = f"{shlex.quote(str(COMMAND))} {command.format(path)}"
    ended = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == status
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == (1 if said else 0)


def test_nothing_that_takes_time_is_loaded_before_ctrl_c_is_seen_to() -> None:
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
before = set(sys.modules)
import durastream.__main__
print(*sorted(set(sys.modules) - before))
"""
    root = Path(durastream.__path__[0]).parent
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, root], capture_output=True, check=True, text=True
    )
    assert set(loaded.stdout.split()) <= {"__future__", "durastream", "durastream.__main__"}


def test_ctrl_c_while_it_loads_leaves_no_traceback() -> None:
    script = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "durastream.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from durastream.__main__ import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"", b"")


def on_a_terminal(arguments: list[str | Path], environment: dict[str, str], keys: bytes) -> str:
    """What a command shows on a terminal as its standard error, and how it ends there."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        [COMMAND, *arguments], stdin=its if keys else subprocess.DEVNULL, stdout=its, stderr=its,
        env=environment | {"COLUMNS": "100"}, start_new_session=True,
    ) as running:  # fmt: skip
        os.close(its)
        if keys:
            os.write(ours, keys)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65_536)
            except OSError:  # the last writer is gone
                break
            if not piece:
                break
            shown += piece
        assert running.wait(30) == 0, shown
    os.close(ours)
    return shown.decode()


def test_a_bar_shows_on_a_terminal_and_goes(
    run: Run, path: str, environment: dict[str, str], tmp_path: Path
) -> None:
    run("create", path)
    file = tmp_path / "large"
    file.write_bytes(bytes(96 << 20))
    shown = on_a_terminal(["write", path, "--file", file], environment, b"")
    assert "] " in shown
    assert "of 96.0 MiB" in shown
    assert "%" in shown
    assert (
        shown.rstrip().splitlines()[-1].rpartition("\x1b[K")[2].startswith("written: 384 messages")
    )
    quiet = on_a_terminal(["write", path, "--file", file, "--progress", "never"], environment, b"")
    assert "%" not in quiet


def test_typing_at_a_terminal(run: Run, path: str, environment: dict[str, str]) -> None:
    run("create", path, "--json")
    shown = on_a_terminal(["write", path, "--lines"], environment, b'{"typed": 1}\n\x04')
    assert "Ctrl-D ends it" in shown
    assert run("read", path).lines == ['{"typed": 1}']


def test_help_has_examples_statuses_and_is_quick(run: Run) -> None:
    for command in COMMANDS:
        shown = run(command, "--help", COLUMNS="80").out.decode()
        assert "examples:\n" in shown
        assert f"durable-streams {command}" in shown.partition("examples:\n")[2]
        assert command in ("serve", "completion") or "exit status:" in shown
        _, description, *_ = shown.split("\n\n")
        assert max(map(len, description.splitlines())) < 80
    assert (
        "payload kept in memory for readers; default 64MiB"
        in run("serve", "--help", COLUMNS="200").out.decode()
    )
    taken = []
    for _ in range(5):
        begun = time.monotonic()
        run("--help")
        taken.append(time.monotonic() - begun)
    assert min(taken) < 0.5
