"""Answers that the system sends out of sealed files: where it refuses to, and where their pages leave its cache."""

import contextlib
import errno
import http.client
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from durastream import LogEngine
from support.server import COMMAND, URL

EVENTS, SIZE = 60, 150_000
SENDFILE = {"x86_64": 40, "aarch64": 71}
# Has the kernel answer `sendfile` with an error of our choice (seccomp), then becomes the server.
REFUSING = """
import ctypes, os, struct, sys

number, error, *command = sys.argv[1:]
load, equal, give = 0x20, 0x15, 0x06
program = b"".join(
    struct.pack("HBBI", *line)
    for line in [
        (load, 0, 0, 0),
        (equal, 0, 1, int(number)),
        (give, 0, 0, 0x00050000 | int(error)),
        (give, 0, 0, 0x7FFF0000),
    ]
)
lines = ctypes.create_string_buffer(program)
packed = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(lines)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, ctypes.get_errno()
assert libc.prctl(22, 2, packed, 0, 0) == 0, ctypes.get_errno()
os.execv(command[0], command)
"""


def event(number: int) -> bytes:
    return (b"%d," % number) * (SIZE // len(b"%d," % number))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose one stream is sealed, and in no memory when it is served."""
    where = tmp_path_factory.mktemp("sealed") / "data"
    with LogEngine(where) as engine:
        engine.create("a", content_type="text/plain")
        for number in range(EVENTS):
            engine.append("a", event(number))
        engine.compact()
    assert sealed(where)
    return where


def sealed(where: Path) -> list[Path]:
    return list(where.rglob("*.sealed"))


WHOLE = b"".join(event(number) for number in range(EVENTS))


@contextlib.contextmanager
def serve(data: Path, *before: str) -> Iterator[int]:
    """The native listener on this directory, its port; `before` starts it."""
    command = [
        *before,
        str(COMMAND),
        "serve",
        "--data",
        str(data),
        "--port",
        "0",
        "--hot-bytes",
        "0",
    ]
    command += ["--page-bytes", "32MiB", "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = URL.search(process.stdout.readline())
            assert found is not None
            yield int(found[0].rpartition(":")[2])
        finally:
            process.terminate()


def read(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/stream/a")
        return connection.getresponse().read()


def refusing(error: int) -> tuple[str, ...]:
    return sys.executable, "-c", REFUSING, str(SENDFILE[platform.machine()]), str(error)


@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_system_does_not_send_files_they_are_read(data: Path, error: int) -> None:
    with serve(data, *refusing(error)) as port:
        assert read(port) == WHOLE
        assert read(port) == WHOLE


def test_any_other_refusal_ends_the_answer_short_and_never_wrong(data: Path) -> None:
    """Also the proof that these answers are sent out of files."""
    with serve(data, *refusing(errno.EPERM)) as port:
        with pytest.raises(http.client.IncompleteRead) as short:
            read(port)
        assert len(short.value.partial) < SIZE
        assert WHOLE.startswith(short.value.partial)


def is_cached(file: Path, at: int) -> bool:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        return os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def evict(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def test_pages_that_leave_the_cache_beneath_an_answer_come_from_the_disk(data: Path) -> None:
    files = sealed(data)
    cold = 0
    with serve(data) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        with contextlib.closing(connection):
            for _ in range(3):
                connection.request("GET", "/v1/stream/a")
                answer = connection.getresponse()
                got = b""
                while piece := answer.read(400_000):
                    got += piece
                    for file in files:
                        evict(file)
                        last = file.stat().st_size - 1
                        cold += not is_cached(file, last // 2)
                assert got == WHOLE
    # Else the file system keeps what it is asked to drop, and nothing was shown.
    assert cold > 10
