"""After fork() the child can neither use nor harm the parent's log."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gc, os, sys, warnings
from durastream import ForkedProcess, LogEngine
from durastream._native import CompletionQueue

log = LogEngine(sys.argv[1])
log.create("s", body=b"abc")
follower = log.follow("s")
reader = log._native.reader("s").wait()
watch = reader.watch(next(follower).next_offset)
queue = CompletionQueue()
watch.register(queue, 7)
pending = log._native.append("s", b"def", None, None, False, None, None)

warnings.simplefilter("ignore", DeprecationWarning)  # fork() beside threads is what this is about
pid = os.fork()
if pid == 0:
    status = 1
    try:
        warnings.simplefilter("error")
        refused = 0
        for call in (
            lambda: log.append("s", b"x"),
            lambda: log.read("s"),
            lambda: log.stats(),
            lambda: log.close(),
            lambda: next(follower),
            lambda: reader.info(),
            lambda: pending.wait(),
            lambda: queue.drain(),
            lambda: watch.close(),
        ):
            try:
                call()
            except ForkedProcess as error:
                assert error.opened_by == os.getppid(), error
                assert error.used_in == os.getpid(), error
                refused += 1
        assert "of another process" in repr(log)
        del log, follower, reader, watch, pending, queue, call
        gc.collect()
        try:
            LogEngine(":memory:")
        except ForkedProcess as error:
            assert "close it before the fork" in str(error), error
            refused += 1
        status = 0 if refused == 10 else 2
    finally:
        os._exit(status)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 0, status

# The parent's log lives, and so does its wake.
pending.wait()
assert [token for token, failure in queue.drain()] == [7]
log.append("s", b"ghi")
assert bytes(log.read("s")) == b"abcdefghi"
queue.close()
log.close()
with LogEngine(sys.argv[1]) as log:
    assert log.recovery.clean
    assert bytes(log.read("s")) == b"abcdefghi"
print("done")
"""


def run_script(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script, os.fspath(directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_forked_child_is_refused_and_harmless(tmp_path: Path) -> None:
    run = run_script(SCRIPT, tmp_path)
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
    assert run.stderr == ""


EXIT_SCRIPT = """
import os, sys, warnings
from durastream import LogEngine

warnings.simplefilter("ignore", DeprecationWarning)
log = LogEngine(sys.argv[1])
log.create("s", body=b"abc")
if os.fork() == 0:
    sys.exit(0)  # an ordinary exit, with all its finalizers
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
log.append("s", b"def")
log.close()
print("done")
"""


def test_a_forked_child_exits_without_a_word(tmp_path: Path) -> None:
    run = run_script(EXIT_SCRIPT, tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")


CLOSED_SCRIPT = """
import os, sys, warnings
from durastream import LogEngine

warnings.simplefilter("ignore", DeprecationWarning)
with LogEngine(sys.argv[1]) as log:
    log.create("s", body=b"abc")
if os.fork() == 0:
    with LogEngine(sys.argv[1]) as log:
        log.append("s", b"from the child")
        assert next(log.follow("s", timeout=5)).data == b"abcfrom the child"
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
with LogEngine(sys.argv[1]) as log:
    assert bytes(log.read("s")) == b"abcfrom the child"
print("done")
"""


def test_a_log_closed_before_the_fork_is_no_hindrance(tmp_path: Path) -> None:
    run = run_script(CLOSED_SCRIPT, tmp_path)
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
