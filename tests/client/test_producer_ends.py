"""A producer of threads ends with its program, with its owner, and before fork()."""

import subprocess
import sys

import pytest

from .conftest import ONLY_NATIVE, Room

# About the end of a process, whatever it talks to.
pytestmark = ONLY_NATIVE

ENDS = {
    "the block": "pass",
    "sys.exit": "sys.exit(0)",
}
SCRIPT = """
import sys
from durastream.client import DurableStream, IdempotentProducer
with IdempotentProducer(DurableStream(sys.argv[1]), "p", auto_claim=True) as producer:
    for n in range(3):
        producer.append(n)
    {end}
"""
CYCLE = """
import gc, sys, threading
from durastream.client import DurableStream, IdempotentProducer
gc.disable()
class Owner: pass
owner = Owner()
owner.me = owner
owner.producer = IdempotentProducer(DurableStream(sys.argv[1]), "p", auto_claim=True)
owner.producer.append(1)
owner.producer.flush()
lanes = owner.producer._lanes
books = type(lanes.ledger)
real = books.take
def take(ledger):
    gc.collect()  # in a lane's thread, with the lock held
    return real(ledger)
books.take = take
del owner
with lanes.changed:
    lanes.changed.notify_all()
for thread in threading.enumerate():
    if thread.name.startswith("durastream-producer"):
        thread.join(20)
        assert not thread.is_alive()
"""
FORK = """
import os, sys
from durastream.client import DurableStream, IdempotentProducer, NotWritten
producer = IdempotentProducer(DurableStream(sys.argv[1]), "p", linger=0.5)
producer.append("parent's")
child = os.fork()
if child == 0:
    for use in (lambda: producer.append("child's"), producer.flush, producer.close):
        try:
            use()
        except NotWritten as error:
            assert "fork" in str(error)
        else:
            os._exit(1)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
producer.detach()
"""


def run(script: str, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("end", ENDS)
def test_a_program_that_used_one_ends(room: Room, end: str) -> None:
    room.create("application/json")
    for _ in range(6):  # it is a matter of moments
        done = run(SCRIPT.format(end=ENDS[end]), room.url)
        assert (done.returncode, done.stderr) == (0, "")


def test_one_that_the_garbage_collector_finds_in_its_own_thread_ends(room: Room) -> None:
    room.create("application/json")
    done = run(CYCLE, room.url)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_is_told_to_make_its_own(room: Room) -> None:
    room.create("application/json")
    done = run(FORK, room.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert room.content() == b'["parent\'s"]'
