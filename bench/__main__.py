"""`python -m bench`: every measurement, a table, and the figures as JSON in bench/results."""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import engine, history, idle, listener
from bench.client import measure as client
from bench.peers import appends, cold, live, memory, others, reads, servers, streams
from bench.plot import plot
from bench.rounds import Row, machine, plain

SECTIONS: dict[str, Callable[..., list[Row]]] = {
    "appends": appends.throughput,
    "many": appends.many,
    "latency": appends.latency,
    "h2": appends.http2,
    "reads": reads.measure,
    "cold": cold.measure,
    "live": live.measure,
    "memory": memory.measure,
    "streams": streams.measure,
    "others": others.measure,
    "listener": listener.measure,
    "engine": engine.measure,
    "idle": idle.measure,
    "history": history.measure,
    "sustained": history.sustained,
    "client": client.measure,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"any of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3; quick: 1)")
    parser.add_argument("--dir", type=Path, default=RESULTS, help="where data is written")
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    chosen = options.section or list(SECTIONS)
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")

    # Servers are ended on the way out, after SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    told = machine() | {"listener": servers.LISTENER or "default"}
    print("  ".join(f"{key}: {value}" for key, value in told.items()), flush=True)
    options.dir.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=options.dir) as home:
            found = SECTIONS[name](Path(home), rounds, quick=options.quick)
        rows += found
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / time.strftime("%Y%m%d-%H%M%S.json")
    told |= {"quick": str(options.quick), "rounds": str(rounds)}
    file.write_text(json.dumps({"machine": told, "rows": plain(rows)}, indent=1) + "\n")
    print(f"written to {file}")
    if plot(rows, file.with_suffix(".svg")):
        print(f"drawn in {file.with_suffix('.svg')}")


if __name__ == "__main__":
    main()
