"""Writes the golden directory of format version 2: `PYTHONPATH=python:tests python tests/golden/write.py TARGET`.

Kept to show how `v2` came about, and as a start for the next version's. A committed golden directory
is never written again: it proves that what an earlier program wrote can still be read.
"""

import json
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from durastream import LogEngine, Offset, Retention
from golden.layout import BLOCK, GROUP_HEAD, Manifest, Segment
from golden.state import describe

SEGMENT_BYTES = 16 << 10
LARGE_SEGMENT_BYTES = 112 << 10
"""Sealed, one of these has more than one block, and an extent of more events than go without a restart."""
CENTURIES = timedelta(days=365 * 500, microseconds=250_000)
FAR = datetime(2999, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
PATTERN = bytes(range(256))

Questions = list[dict[str, Any]]


def open_log(directory: Path, segment_bytes: int = SEGMENT_BYTES) -> LogEngine:
    return LogEngine(directory, segment_bytes=segment_bytes, reap_interval=0.05)


def until_sealed(directory: Path, end: int) -> None:
    """Waits until everything below an LSN is in sealed files; it must not lie in the last segment."""
    while Manifest.read(directory).sealed < end:
        time.sleep(0.01)


def history(log: LogEngine, directory: Path) -> Questions:
    """Streams that lie mixed in several segments, then sealed; some of it was dead before, some of it dies later."""
    names = [f"history/{kind}" for kind in ("long", "large", "json", "trimmed", "deleted")]
    long, large, json_, trimmed, deleted = names
    for name in names:
        log.create(name, content_type="application/json" if name == json_ else None)
    ends: list[str] = []
    for turn in range(3):
        log.append_many([(long, b"%d," % number) for number in range(300)])
        for part in range(3):
            log.append(large, bytes([turn * 3 + part]) * 100 + PATTERN * 99)
            log.append(
                json_,
                b'[{"turn": %d}, {"part": %d}]' % (turn, part),
                producer=("w", 0, turn * 3 + part),
            )
            ends.append(str(log.append(trimmed, b"%d.%d;" % (turn, part)).next_offset))
            log.append(deleted, b"dead when it is sealed")
        if turn == 0:
            log.trim(trimmed, ends[1])
            log.fork(large, "history/fork", log.head(large).tail)
    log.delete(deleted)
    end = log.stats().end_lsn
    log.create("bulk")
    for _ in range(2):  # so that another segment begins, and one more if need be
        log.append("bulk", PATTERN * (LARGE_SEGMENT_BYTES * 2 // 3 // len(PATTERN)))
    log.delete("bulk")
    until_sealed(directory, end)
    log.append(long, b"not sealed yet")
    log.trim(trimmed, ends[3])
    log.append("history/fork", b"own")
    return [
        {"call": "read", "path": trimmed, "offset": ends[2]},
        {"call": "read", "path": trimmed, "offset": ends[3]},
        {"call": "read", "path": deleted, "offset": "-1"},
        {"call": "append", "path": json_, "data": "0", "producer": ["w", 0, 8]},
        {"call": "append", "path": json_, "data": "0", "producer": ["w", 0, 10]},
    ]


def fill_and_drop(log: LogEngine) -> None:
    """Uses segments up, a large reserve too, so that what follows lies in files that had an earlier life."""
    log.create("bulk")
    for _ in range(13):
        log.append("bulk", PATTERN * 44)
    log.delete("bulk")
    log.checkpoint()
    log.checkpoint()


def plain(log: LogEngine, at: str) -> Questions:
    """Contents, creation options, Stream-Seq, closes."""
    log.create(f"{at}/bytes")
    log.append(f"{at}/bytes", b"one")
    log.append(f"{at}/bytes", b"\x00\xff two")
    log.create(f"{at}/text é", content_type="text/plain; charset=utf-8", body="héllo".encode())
    log.append(f"{at}/text é", b"a", stream_seq="0001")
    log.append(f"{at}/text é", b"b", stream_seq="0002")
    log.create(f"{at}/json/empty", content_type="application/json", body=b"[]")
    log.create(f"{at}/large", body=PATTERN * 56)
    log.create(f"{at}/born closed", closed=True, body=b"all")
    log.create(f"{at}/closed/empty")
    log.close_stream(f"{at}/closed/empty")
    log.create(f"{at}/closed/with data", content_type="text/plain")
    log.append(f"{at}/closed/with data", b"first")
    log.append(f"{at}/closed/with data", b"last", close=True)
    return [
        {"call": "append", "path": f"{at}/text é", "data": "c", "stream_seq": "0002"},
        {"call": "append", "path": f"{at}/born closed", "data": "more"},
        {"call": "append", "path": f"{at}/closed/empty", "data": "", "close": True},
        {"call": "append", "path": f"{at}/closed/with data", "data": "last", "close": True},
        {"call": "create", "path": f"{at}/bytes"},
        {"call": "create", "path": f"{at}/bytes", "closed": True},
        {"call": "create", "path": f"{at}/born closed", "closed": True},
    ]


def produced(log: LogEngine, at: str) -> Questions:
    """JSON, producers with epochs, a producer that closes."""
    path = f"{at}/json/orders"
    log.create(path, content_type="application/json", body=b'[1.50, {"a": "\\u00e9"}]')
    for seq in range(3):
        log.append(path, b'{"seq": %d}' % seq, producer=("w1", 0, seq))
    log.append(path, b"[true, [null]]", producer=("w é", 7, 0), stream_seq="x")
    log.append(path, b'"taken over"', producer=("w1", 1, 0))
    log.append_many([(path, b"10"), (path, b"11", ("w2", 0, 0)), (f"{at}/bytes", b"12")])
    closed = f"{at}/closed/by producer"
    log.create(closed)
    log.append(closed, b"data", producer=("closer", 2, 0))
    log.close_stream(closed, b"end", producer=("closer", 2, 1))
    ask = {"call": "append", "path": path, "data": "0"}
    return [
        {**ask, "producer": ["w1", 1, 0]},
        {**ask, "producer": ["w1", 1, 2]},
        {**ask, "producer": ["w1", 0, 3]},
        {**ask, "producer": ["w1", 2, 5]},
        {**ask, "producer": ["w é", 7, 0]},
        {**ask, "producer": ["w é", 7, 9]},
        {**ask, "producer": ["w2", 0, 0]},
        {**ask, "producer": ["w2", 0, 2]},
        {**ask, "producer": ["never seen", 0, 1]},
        {**ask, "stream_seq": "x"},
        {"call": "append", "path": closed, "data": "end", "producer": ["closer", 2, 1]},
        {"call": "append", "path": closed, "data": "more", "producer": ["closer", 2, 2]},
        {"call": "append", "path": closed, "data": "more", "producer": ["closer", 1, 0]},
    ]


def mortal(log: LogEngine, at: str) -> Questions:
    """Expiry, sliding and fixed, and what a fork inherits of it."""
    log.create(f"{at}/ttl", ttl=CENTURIES, body=b"0")
    log.append(f"{at}/ttl", b"1")
    log.create(f"{at}/expires at", expires_at=FAR, content_type="text/plain")
    log.append(f"{at}/expires at", b"1")
    log.fork(f"{at}/ttl", f"{at}/fork/ttl inherited", body=b"2")
    log.fork(f"{at}/expires at", f"{at}/fork/at inherited")
    log.fork(f"{at}/ttl", f"{at}/fork/expiry of its own", expires_at=FAR)
    return [
        {"call": "create", "path": f"{at}/ttl", "ttl": CENTURIES.total_seconds()},
        {"call": "create", "path": f"{at}/ttl", "ttl": 60},
        {"call": "fork", "source": f"{at}/ttl", "path": f"{at}/fork/ttl inherited"},
        {"call": "fork", "source": f"{at}/ttl", "path": f"{at}/fork/expiry of its own"},
    ]


def forked(log: LogEngine, at: str) -> Questions:
    """Forks: at the tail, at an offset, with sub-offsets, of forks, of what is deleted."""
    source, orders, at_json = f"{at}/bytes", f"{at}/json/orders", f"{at}/fork/json at"
    first = str(log.read(source, max_bytes=1).next_offset)
    second = str(log.read(orders, max_bytes=1).next_offset)
    log.fork(source, f"{at}/fork/tail")
    log.append(f"{at}/fork/tail", b"own")
    log.fork(source, f"{at}/fork/bytes", first, 2, body=b"XY")
    log.append(f"{at}/fork/bytes", b"Z", producer=("w1", 0, 0))
    log.fork(orders, f"{at}/fork/json", Offset.START, 1, content_type="application/json")
    log.append(f"{at}/fork/json", b'["own"]')
    log.fork(orders, at_json, second, closed=True)
    log.fork(f"{at}/fork/bytes", f"{at}/fork/of fork", first, 1)
    log.append(source, b"not seen by forks")
    # Deleted while a fork lives; a chain of two of these; a chain that is gone altogether.
    log.create(f"{at}/soft", body=b"kept for its fork")
    log.append(f"{at}/soft", b" only", producer=("w1", 0, 0))
    log.fork(f"{at}/soft", f"{at}/fork/soft", body=b"!")
    log.fork(f"{at}/fork/soft", f"{at}/fork/soft/2", body=b"?")
    log.delete(f"{at}/soft")
    log.delete(f"{at}/fork/soft")
    log.create(f"{at}/kept a while", body=b"x")
    log.fork(f"{at}/kept a while", f"{at}/fork/kept a while")
    log.delete(f"{at}/kept a while")
    log.create(f"{at}/gone", body=b"x")
    log.fork(f"{at}/gone", f"{at}/fork/gone")
    log.delete(f"{at}/gone")
    log.delete(f"{at}/fork/gone")
    fork = {"call": "fork", "source": source, "path": f"{at}/fork/bytes"}
    return [
        {**fork, "offset": first, "sub_offset": 2},
        {**fork, "offset": first, "sub_offset": 1},
        {"call": "fork", "source": orders, "path": at_json, "offset": second},
        {"call": "fork", "source": orders, "path": at_json, "offset": second, "closed": True},
        {"call": "append", "path": f"{at}/fork/bytes", "data": "Z", "producer": ["w1", 0, 0]},
        {"call": "append", "path": f"{at}/fork/json", "data": "0", "producer": ["w1", 1, 1]},
        {"call": "read", "path": f"{at}/soft", "offset": "-1"},
        {"call": "create", "path": f"{at}/soft"},
        {"call": "fork", "source": f"{at}/soft", "path": f"{at}/fork/refused"},
        {"call": "append", "path": f"{at}/fork/soft", "data": "x"},
        {"call": "read", "path": f"{at}/gone", "offset": "-1"},
        {"call": "read", "path": f"{at}/fork/gone", "offset": "-1"},
    ]


def removed(log: LogEngine, at: str) -> Questions:
    """Deletes, a path with a second life, trims."""
    log.create(f"{at}/deleted", body=b"x")
    log.delete(f"{at}/deleted")
    first_life = str(log.create(f"{at}/recreated", body=b"first").info.tail)
    log.delete(f"{at}/recreated")
    log.create(f"{at}/recreated", content_type="text/plain", body=b"second")
    trimmed = f"{at}/trimmed"
    log.create(trimmed)
    ends = [str(log.append(trimmed, b"%d;" % n).next_offset) for n in range(6)]
    log.trim(trimmed, ends[1])
    log.fork(trimmed, f"{at}/fork/trimmed", ends[3])
    log.trim(trimmed, ends[4])
    log.create(f"{at}/trimmed/all", body=b"gone")
    log.trim(f"{at}/trimmed/all", log.head(f"{at}/trimmed/all").tail)
    return [
        {"call": "read", "path": f"{at}/deleted", "offset": "-1"},
        {"call": "read", "path": f"{at}/recreated", "offset": first_life},
        {"call": "read", "path": trimmed, "offset": ends[2]},
        {"call": "read", "path": trimmed, "offset": ends[4]},
        {"call": "read", "path": f"{at}/fork/trimmed", "offset": ends[0]},
        {"call": "read", "path": f"{at}/fork/trimmed", "offset": ends[2]},
    ]


def limited(log: LogEngine, at: str) -> Questions:
    """Streams of which only so much is kept, from the start or later; what forks make of it."""
    limits = {
        "bytes": Retention(max_bytes=12),
        "age": Retention(max_age=CENTURIES),
        "events": Retention(max_events=3),
        "everything": Retention(max_bytes=30, max_age=CENTURIES, max_events=5),
        "no more": Retention(max_events=2),
    }
    for name, retention in limits.items():
        log.create(f"{at}/limited/{name}", retention=retention)
    log.create(f"{at}/limited/later")
    for number in range(8):
        log.append_many([(f"{at}/limited/{name}", b"%04d" % number) for name in [*limits, "later"]])
    log.configure(f"{at}/limited/later", retention=Retention(max_events=2, max_bytes=100))
    log.configure(f"{at}/limited/age", retention=Retention(max_age=CENTURIES * 2, max_events=100))
    log.configure(f"{at}/limited/no more", retention=None)
    for name in (*limits, "later"):
        log.append(f"{at}/limited/{name}", b"last")
    log.fork(f"{at}/limited/events", f"{at}/fork/limited")
    log.fork(f"{at}/limited/events", f"{at}/fork/unlimited", retention=Retention())
    log.append(f"{at}/fork/limited", b"own")
    log.append(f"{at}/fork/unlimited", b"own")
    return [
        {"call": "create", "path": f"{at}/limited/later"},
        {"call": "fork", "source": f"{at}/limited/events", "path": f"{at}/fork/limited"},
        {"call": "read", "path": f"{at}/limited/events", "offset": "-1"},
    ]


def scene(log: LogEngine, at: str) -> Questions:
    """Everything there is, under one prefix."""
    questions: Questions = []
    for part in (plain, produced, mortal, forked, removed, limited):
        questions += part(log, at)
    return questions


def carry_on(log: LogEngine, at: str) -> Questions:
    """Changes what a checkpoint holds, so that the log after it must be replayed onto it."""
    orders = f"{at}/json/orders"
    log.append(orders, b'"after"', producer=("w1", 1, 1), stream_seq="y")
    log.append(f"{at}/ttl", b"after")
    log.append(f"{at}/fork/json", b'"after"', close=True)
    log.trim(f"{at}/text é", log.read(f"{at}/text é", max_bytes=1).next_offset)
    log.delete(f"{at}/fork/kept a while")
    log.delete(f"{at}/json/empty")
    return [
        {"call": "append", "path": orders, "data": "0", "producer": ["w1", 1, 1]},
        {"call": "append", "path": orders, "data": "0", "producer": ["w1", 0, 3]},
        {"call": "append", "path": orders, "data": "0", "producer": ["w é", 7, 0]},
        {"call": "append", "path": orders, "data": "0", "producer": ["w2", 0, 2]},
        {"call": "append", "path": orders, "data": "0", "producer": ["never seen", 0, 1]},
        {"call": "append", "path": orders, "data": "0", "stream_seq": "y"},
        {"call": "append", "path": f"{at}/fork/json", "data": "0"},
        {"call": "read", "path": f"{at}/kept a while", "offset": "-1"},
        {"call": "read", "path": f"{at}/fork/kept a while", "offset": "-1"},
        {"call": "read", "path": f"{at}/json/empty", "offset": "-1"},
    ]


def expire(log: LogEngine) -> Questions:
    """A stream whose life is prolonged by a read, and ends: a touch and an expiry in the log."""
    log.create("expired", ttl=2, body=b"x")
    time.sleep(1.3)
    log.read("expired")
    while log.stats().expired == 0:
        time.sleep(0.1)
    return [{"call": "read", "path": "expired", "offset": "-1"}]


def tear(directory: Path, lsn: int) -> None:
    """Leaves of the group at `lsn` what a loss of power might: its first sectors, without the rest."""
    bases = {}
    for number, salt, size, _ in Manifest.read(directory).segments:
        base = Segment.read(directory, number, salt, size).base
        if base is not None:
            bases[base] = directory / f"{number:016}.wal"
    base = max(base for base in bases if base <= lsn)
    written = bytearray(bases[base].read_bytes())
    begin = BLOCK + lsn - base
    cut = (begin + GROUP_HEAD + 512) // 512 * 512
    written[cut:] = bytes(len(written) - cut)
    bases[base].write_bytes(written)


def snapshot(source: Path, target: Path) -> None:
    """What `kill -9` would leave behind."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("LOCK"))


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        live, again = Path(scratch, "live"), Path(scratch, "again")
        with open_log(live, LARGE_SEGMENT_BYTES) as log:
            questions = history(log, live)
        with open_log(live) as log:
            fill_and_drop(log)
            log.create("torn")
            log.create("between checkpoints")
            questions += scene(log, "checkpointed")
            log.checkpoint()
            log.append("between checkpoints", b"so that the older one is another one")
            log.checkpoint()
            changed = carry_on(log, "checkpointed")
            asked_anew = {question["path"] for question in changed}
            questions = [question for question in questions if question["path"] not in asked_anew]
            questions += changed + scene(log, "replayed") + expire(log)
            time.sleep(1)  # until nothing more happens in the background
            end = log.stats().end_lsn
            before = describe(log, questions)
            assert end == log.stats().end_lsn, "a question that changed something"
            log.append_many([("torn", b"whole, so kept"), ("torn", PATTERN * 8)])
            snapshot(live, target / "data")
        tear(target / "data", end)
        snapshot(target / "data", again)
        with open_log(again) as log:
            report = log.recovery
            after = describe(log, questions)
            next_id = log.create("next").info.id
    assert before["answers"] == after["answers"]
    assert {**before["streams"], "torn": None} == {**after["streams"], "torn": None}
    recovery = {
        name: getattr(report, name)
        for name in ("replay_from", "end", "frames", "torn_bytes", "clean")
    }
    description = {"recovery": recovery, "next_id": next_id, **after}
    (target / "description.json").write_text(
        json.dumps(description, indent=1, ensure_ascii=False) + "\n"
    )


if __name__ == "__main__":
    main()
