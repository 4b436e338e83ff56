"""One log, many threads."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from durastream import EngineClosed, LogEngine, TailMoved


def test_concurrent_appends_are_all_kept_in_order(log: LogEngine) -> None:
    log.create("shared")
    for thread in range(8):
        log.create(f"own/{thread}")

    def work(thread: int) -> list[int]:
        positions = []
        for n in range(50):
            log.append("shared", b"%02d%03d." % (thread, n))
            positions.append(log.append(f"own/{thread}", b"%03d." % n).next_offset.position)
        return positions

    with ThreadPoolExecutor(8) as pool:
        for positions in pool.map(work, range(8)):
            assert positions == [4 * (n + 1) for n in range(50)]
    shared = bytes(log.read("shared")).split(b".")[:-1]
    assert len(shared) == 400
    for thread in range(8):
        mine = [event for event in shared if event.startswith(b"%02d" % thread)]
        assert mine == [b"%02d%03d" % (thread, n) for n in range(50)]
        assert bytes(log.read(f"own/{thread}")) == b"".join(b"%03d." % n for n in range(50))


def test_concurrent_appends_share_their_syncs(log: LogEngine) -> None:
    log.create("s")
    before = log.stats()

    def work(_: int) -> None:
        for _n in range(100):
            log.append("s", b"x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    after = log.stats()
    assert after.appends - before.appends == 800
    assert after.syncs - before.syncs < 800


def test_every_follower_sees_every_event_once(log: LogEngine) -> None:
    log.create("s")

    def follow(_: int) -> bytes:
        return b"".join(bytes(page) for page in log.follow("s", timeout=30))

    with ThreadPoolExecutor(8) as pool:
        followers = [pool.submit(follow, n) for n in range(8)]
        for n in range(200):
            log.append("s", b"%d," % n)
        log.close_stream("s")
        expected = b"".join(b"%d," % n for n in range(200))
        assert all(follower.result(30) == expected for follower in followers)


def test_a_waiting_thread_lets_others_run(memory: LogEngine) -> None:
    memory.create("s")
    thread = threading.Thread(target=lambda: list(memory.follow("s", timeout=20)))
    thread.start()
    time.sleep(0.1)
    begun = time.perf_counter()
    total = sum(range(1_000_000))
    assert total > 0
    assert time.perf_counter() - begun < 5
    memory.close_stream("s")
    thread.join(20)
    assert not thread.is_alive()


def test_racing_creations_make_one_stream(log: LogEngine) -> None:
    barrier = threading.Barrier(8)

    def create(_: int) -> bool:
        barrier.wait()
        return log.create("s", body=b"once").created

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(8))) == [False] * 7 + [True]
    assert bytes(log.read("s")) == b"once"


def test_racing_compare_and_append_has_one_winner_a_round(memory: LogEngine) -> None:
    memory.create("s")
    barrier = threading.Barrier(4)

    def race(thread: int) -> int:
        won = 0
        for _ in range(50):
            tail = memory.head("s").tail
            barrier.wait()
            try:
                memory.append("s", b"%d" % thread, if_tail=tail)
                won += 1
            except TailMoved:
                pass
            barrier.wait()
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(race, range(4))) == 50


def test_closing_while_others_append_loses_nothing_acknowledged(tmp_path: Path) -> None:
    log = LogEngine(tmp_path)
    log.create("s")

    def work(thread: int) -> int:
        kept = 0
        try:
            while True:
                log.append("s", b"%d" % thread)
                kept += 1
        except EngineClosed:
            return kept

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, n) for n in range(4)]
        time.sleep(0.2)
        log.close()
        kept = [worker.result(20) for worker in workers]
    with LogEngine(tmp_path) as log:
        data = bytes(log.read("s"))
    for thread, count in enumerate(kept):
        assert count <= data.count(b"%d" % thread) <= count + 1


def test_results_hold_no_references_that_leak(memory: LogEngine) -> None:
    memory.create("s")
    data = b"x" * 100
    path = "s"
    before = sys.getrefcount(data), sys.getrefcount(path)
    for _ in range(1000):
        memory.append(path, data)
        memory.append_many([(path, data)] * 3)
    assert (sys.getrefcount(data), sys.getrefcount(path)) == before
