"""Reading through streams that the page cache has nothing of, over HTTP, beside `cat` of files as large."""

import http.client
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

from bench.peers.contest import Measure, contest
from bench.peers.processes import Running, Server
from bench.peers.reads import BEHIND, CPU_PER_GB, MIB, SEALING_SECONDS, STREAM, pattern
from bench.peers.servers import NGINX, OURS, PEER_E, STATIC, E, ours
from bench.peers.tools import load
from bench.rounds import Goal, Row, Sample, UnmeasuredError, uncached

CAT = "cat"
PIECE = 1 << 20
TIMEOUT = 60.0
Contents = list[bytes]


def _read_through(server: Running, path: str, *, plain: bool) -> list[bytes]:
    """The pages of a stream from its start on, or a file."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
    pages, offset = [], "-1"
    while True:
        query = "" if plain else "?" + urlencode({"offset": offset})
        connection.request("GET", path + query)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise UnmeasuredError(f"{path} was answered {answer.status}")
        while piece := answer.read(PIECE):
            pages.append(piece)
        if plain or answer.headers["stream-up-to-date"]:
            connection.close()
            return pages
        offset = answer.headers["stream-next-offset"] or ""


def _timed(server: Running, paths: list[str], contents: Contents, *, plain: bool) -> Sample:
    used, began = server.cpu_seconds(), time.perf_counter()
    got = [_read_through(server, path, plain=plain) for path in paths]
    seconds = time.perf_counter() - began
    used = server.cpu_seconds() - used
    if [b"".join(pages) for pages in got] != contents:
        raise UnmeasuredError("what was read is not what was written")
    read = sum(map(len, contents))
    return Sample(read / MIB / seconds, {CPU_PER_GB: used * 1000 / (read / 1e9)})


def streams_through(contents: Contents) -> Measure:
    def measure(server: Running, home: Path) -> Sample:
        streams = len(contents)
        load("fill", server, path=STREAM, streams=streams, bytes=len(contents[0]))
        load("fill", server, path=f"{STREAM}-behind", streams=1, bytes=BEHIND)
        time.sleep(SEALING_SECONDS)
        uncached(home)
        return _timed(server, [f"{STREAM}/{n}" for n in range(streams)], contents, plain=False)

    return measure


def _files(home: Path, contents: Contents) -> list[Path]:
    (home / "files").mkdir()
    files = [home / "files" / str(stream) for stream in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    uncached(home)
    return files


def files_through(contents: Contents) -> Measure:
    def measure(server: Running, home: Path) -> Sample:
        paths = [f"/{file.name}" for file in _files(home, contents)]
        return _timed(server, paths, contents, plain=True)

    return measure


def cat(contents: Contents) -> Measure:
    def measure(_: Running, home: Path) -> Sample:
        files = _files(home, contents)
        began = time.perf_counter()
        subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
        return Sample(sum(map(len, contents)) / MIB / (time.perf_counter() - began))

    return measure


def measure(directory: Path, rounds: int, *, quick: bool) -> list[Row]:
    """One connection, one stream behind the other: what the disk gives decides."""
    streams, size = (4, 4 * MIB) if quick else (8, 16 * MIB)
    contents = [pattern(stream, size) for stream in range(streams)]
    through = streams_through(contents)
    return contest(
        f"cold GETs of {streams} x {size // MIB} MiB, sealed, one connection",
        "MiB/s",
        {
            PEER_E: through,
            ours(): through,
            STATIC: files_through(contents),
            # Whatever runs beside it.
            Server(CAT, STATIC.start): cat(contents),
        },
        {OURS: [Goal(1, over=E), Goal(0.7, over=CAT), Goal(0.9, over=NGINX)]},
        directory,
        rounds,
    )
