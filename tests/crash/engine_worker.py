"""A program with an embedded log, written to be killed: `engine_worker.py DIR DURABILITY FIRST...`.

Thread n appends `n:seq;` from seq FIRST[n] on, as producer n, and reports every acknowledgement as a
line `n seq end` in one write, so that a report is whole or missing. The end of a repeat is `-`: it
was answered with the tail.
"""

import os
import sys
import threading
from pathlib import Path

from durastream import LogEngine

STREAMS = 3


def stream(producer: int) -> str:
    return f"stream/{producer % STREAMS}"


def run(log: LogEngine, producer: int, seq: int) -> None:
    """Even producers append one by one, odd ones in batches."""
    name = f"p{producer}"
    while True:
        batch = range(seq, seq + (1 if producer % 2 == 0 else 7))
        items = [(stream(producer), b"%d:%d;" % (producer, n), (name, 0, n)) for n in batch]
        for n, result in zip(batch, log.append_many(items), strict=True):
            end = "-" if result.duplicate else str(result.next_offset)
            os.write(1, b"%d %d %s\n" % (producer, n, end.encode()))
        seq = batch[-1] + 1


def main() -> None:
    directory, durability, *firsts = sys.argv[1:]
    log = LogEngine(
        Path(directory), durability=durability, segment_bytes=1 << 20, checkpoint_bytes=1 << 20
    )
    for n in range(STREAMS):
        log.create(stream(n), content_type="text/plain")
    os.write(1, b"ready\n")
    for producer, first in enumerate(map(int, firsts)):
        threading.Thread(target=run, args=(log, producer, first)).start()


if __name__ == "__main__":
    main()
