"""The pytest plugin, as the tests of other projects use it: in pytest processes of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from durastream.testing import LocalServer, ServerFailed

USES_THE_SERVER = """
    import urllib.request

    def call(method, url, body=None):
        request = urllib.request.Request(url, body, {"content-type": "text/plain"}, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()
"""


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_the_server_is_real_and_one_for_the_session(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        USES_THE_SERVER
        + """
    def test_writes(durable_streams_server):
        url = durable_streams_server.stream_url("a b/c")
        assert url == durable_streams_server.url + "/a%20b/c"
        assert url.startswith(durable_streams_server.origin + "/v1/stream/")
        call("PUT", url, b"one,")
        call("POST", url, b"two")
        assert list(durable_streams_server.data.glob("*.wal"))

    def test_finds_what_the_other_wrote(durable_streams_server):
        assert call("GET", durable_streams_server.stream_url("a b/c")) == b"one,two"
    """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_a_killed_server_starts_again_at_its_url_with_its_data(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        USES_THE_SERVER
        + """
    def test_kills_it_and_leaves_it_dead(durable_streams_server):
        server = durable_streams_server
        url, pid = server.stream_url("s"), server.pid
        call("PUT", url, b"kept")
        server.restart(kill=True)
        assert server.pid != pid and server.stream_url("s") == url
        assert call("GET", url) == b"kept"
        server.restart()
        assert call("GET", url) == b"kept"
        server.kill()
        assert not server.running

    def test_finds_it_running(durable_streams_server):
        assert call("GET", durable_streams_server.stream_url("s")) == b"kept"
    """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=2)


def test_flags_of_serve_come_from_the_ini_file(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ndurable_streams_args = --base-path /elsewhere --max-body 1KiB\n")
    pytester.makepyfile(
        USES_THE_SERVER
        + """
    import pytest, urllib.error

    def test_flags(durable_streams_server):
        assert durable_streams_server.url.endswith("/elsewhere")
        with pytest.raises(urllib.error.HTTPError, match="413"):
            call("PUT", durable_streams_server.stream_url("s"), bytes(2000))
    """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_a_flag_that_serve_does_not_know_is_told(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\ndurable_streams_args = --no-such-flag\n")
    pytester.makepyfile("def test_flags(durable_streams_server): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*ServerFailed: the server did not start:*", "*unrecognized arguments: --no-such-flag"]
    )


def test_the_engine_is_empty_for_each_test_and_closed_behind_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import pytest

    seen = []

    @pytest.mark.parametrize("turn", [1, 2])
    def test_engine(log_engine, turn):
        assert list(log_engine.list()) == []
        log_engine.create("s", body=b"x")
        seen.append(log_engine)

    def test_closed():
        assert [log.closed for log in seen] == [True, True]
    """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=3)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_pytest_however_that_ends(
    pytester: pytest.Pytester, how: signal.Signals
) -> None:
    pytester.makepyfile(
        """
    import pathlib, time

    def test_waits(durable_streams_server):
        pathlib.Path("new").write_text(str(durable_streams_server.pid))
        pathlib.Path("new").rename("pid")
        time.sleep(60)
    """
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "pytest"],
        cwd=pytester.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    told = pytester.path / "pid"
    while not told.exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(how)
    running.wait(30)
    assert gone(int(told.read_text()))


def test_a_run_that_does_not_use_it_loads_nothing_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
    import sys

    def test_loaded(pytestconfig):
        assert pytestconfig.pluginmanager.has_plugin("durastream")
        ours = {name for name in sys.modules if name.startswith("durastream")}
        assert ours == {"durastream", "durastream.pytest_plugin"}
        assert "hypercorn" not in sys.modules and "trio" not in sys.modules
    """
    )
    pytester.runpytest_subprocess("-p", "no:anyio", "-p", "no:hypothesispytest").assert_outcomes(
        passed=1
    )


def test_loading_it_takes_next_to_nothing(tmp_path: Path) -> None:
    script = (
        "import pytest, time; begun = time.perf_counter(); import durastream.pytest_plugin; "
        "print(time.perf_counter() - begun)"
    )
    taken = [
        float(subprocess.check_output([sys.executable, "-c", script], cwd=tmp_path))
        for _ in range(5)
    ]
    assert min(taken) < 0.01


def test_a_server_ends_when_its_with_block_does(tmp_path: Path) -> None:
    server = LocalServer(tmp_path)
    with pytest.raises(ServerFailed, match="not started yet"):
        _ = server.url
    with server:
        pid = server.pid
        server.start()
        assert server.pid == pid
    assert gone(pid)
    assert not server.running
    assert "finishing" in server.log
    with pytest.raises(ServerFailed, match="does not run"):
        _ = server.pid
