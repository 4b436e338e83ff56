"""`import durastream` is quick, and loads nothing that only some programs need."""

import json
import subprocess
import sys

HEAVY = {
    "durastream.client",
    "durastream.asgi",
    "httpx",
    "trio",
    "anyio",
    "hypercorn",
    "h2",
    "orjson",
}
PROGRAM = """
import sys, time
began = time.process_time()
import durastream
took = time.process_time() - began
import json
print(json.dumps([took, sorted(sys.modules)]))
"""
LIMIT = 0.06
"""Seconds."""


def test_it_is_quick_and_loads_no_client_no_loop_and_no_server() -> None:
    taken = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
        )
        took, modules = json.loads(done.stdout)
        taken.append(took)
        assert not HEAVY & set(modules)
    # Of the processor, and the best: other tests run beside this one.
    assert min(taken) < LIMIT
