"""Ctrl-C interrupts whatever waits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PRELUDE = """
import sys, time
from durastream import LogEngine
log = LogEngine(sys.argv[1])
log.create("s", body=b"abc")
"""
EPILOGUE = """
    print("not interrupted")
except KeyboardInterrupt:
    took = time.monotonic() - begun
    log.append("s", b"def")
    log.close()
    print("interrupted", flush=True)
"""
WAITS = {
    "follow": "for page in log.follow('s'): print('waiting', flush=True)",
    "follow with a timeout": "for page in log.follow('s', timeout=60): print('waiting', flush=True)",
    "appends": "print('waiting', flush=True)\n    while True: log.append('s', b'x')",
    "batches": (
        "print('waiting', flush=True)\n    while True: log.append_many([('s', b'x' * 1000)] * 1000)"
    ),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_ends_a_wait_and_the_log_goes_on(tmp_path: Path, wait: str) -> None:
    script = f"{PRELUDE}\nbegun = time.monotonic()\ntry:\n    {wait}\n{EPILOGUE}"
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, os.fspath(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "waiting\n", process.stderr.read()
            time.sleep(0.3)
            sent = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n", process.stderr.read()
            assert time.monotonic() - sent < 2
            assert process.wait(20) == 0
        finally:
            process.kill()


HANDLER = """
import signal
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(log.append("s", b"from the handler").closed))
import os, threading
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
pages = [bytes(page) for page in log.follow("s", timeout=1.5)]
assert seen == [False], seen
assert pages == [b"abc", b"from the handler"], pages
log.close()
print("done")
"""


def test_a_signal_handler_runs_while_a_follower_waits_and_may_use_the_log(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + HANDLER, os.fspath(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
