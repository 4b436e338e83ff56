"""An embedded event log: accounts as a fold over events, with optimistic concurrency and a projection.

`python -m examples.event_log [DIRECTORY]`, again and again: it goes on from where it was.

Threads transfer money at once. Each decides on the balances that it knows and appends with `if_tail`: the
append is refused if anybody was quicker, and then it looks again. A projection in SQLite follows the log and
keeps its offset in the same transaction as its rows, so that it applies each event exactly once, wherever a
crash stops it.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from durastream import LogEngine, Offset, TailMoved

STREAM = "accounts"
NAMES = ("ada", "bob", "cleo")
THREADS = 4
TRANSFERS_EACH = 25


class Accounts:
    """The balances at one offset of the log, and the events that follow from them."""

    def __init__(self, log: LogEngine) -> None:
        self._log = log
        self._offset: Offset = Offset.START
        self.balances: Counter[str] = Counter()

    def catch_up(self) -> None:
        """Apply what is new."""
        up_to_date = False
        while not up_to_date:
            page = self._log.read(STREAM, self._offset)
            for event in page.json():
                self.balances.update(changes(event))
            self._offset, up_to_date = page.next_offset, page.up_to_date

    def transfer(self, giver: str, taker: str, amount: int) -> int:
        """Move money unless there is too little; how often somebody else was quicker."""
        beaten = 0
        while True:
            self.catch_up()
            if self.balances[giver] < amount:
                return beaten
            event = {"type": "transfer", "from": giver, "to": taker, "amount": amount}
            try:
                self._log.append(STREAM, json.dumps(event).encode(), if_tail=self._offset)
            except TailMoved:
                beaten += 1
            else:
                return beaten


def changes(event: dict[str, Any]) -> dict[str, int]:
    """What an event does to balances."""
    if event["type"] == "deposit":
        return {event["to"]: event["amount"]}
    return {event["from"]: -event["amount"], event["to"]: event["amount"]}


def project(log: LogEngine, database: Path) -> dict[str, int]:
    """Bring a table of balances up to date with the log; the table."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS balance (name TEXT PRIMARY KEY, amount INTEGER)")
        db.execute("CREATE TABLE IF NOT EXISTS applied (only_row INTEGER PRIMARY KEY, offset TEXT)")
        row = db.execute("SELECT offset FROM applied").fetchone()
        # Ends when nothing more comes; a service would leave the timeout out.
        for page in log.follow(STREAM, row[0] if row else "-1", timeout=0):
            with db:
                for event in page.json():
                    db.executemany(
                        "INSERT INTO balance VALUES (?, ?) "
                        "ON CONFLICT (name) DO UPDATE SET amount = amount + excluded.amount",
                        changes(event).items(),
                    )
                db.execute("INSERT OR REPLACE INTO applied VALUES (1, ?)", (str(page.next_offset),))
        return dict(db.execute("SELECT name, amount FROM balance ORDER BY name"))


def work(log: LogEngine, seed: int) -> int:
    """Transfers of one thread; how often it was beaten."""
    accounts, chance = Accounts(log), random.Random(seed)  # noqa: S311  (no secret)
    beaten = 0
    for _ in range(TRANSFERS_EACH):
        giver, taker = chance.sample(NAMES, 2)
        beaten += accounts.transfer(giver, taker, chance.randint(1, 50))
    return beaten


def main(directory: Path) -> None:
    """Transfer for a while, then show that log and projection agree."""
    with LogEngine(directory / "log") as log:
        log.create(STREAM, content_type="application/json")
        for number, name in enumerate(NAMES):
            # At every start: the producer's sequence number keeps it to the first one, wherever that ended.
            event = {"type": "deposit", "to": name, "amount": 100}
            log.append(STREAM, json.dumps(event).encode(), producer=("opening", 0, number))
        with ThreadPoolExecutor(THREADS) as pool:
            beaten = sum(pool.map(lambda seed: work(log, seed), range(THREADS)))
        accounts = Accounts(log)
        accounts.catch_up()
        projected = project(log, directory / "balances.sqlite")
    print(f"beaten by another thread {beaten} times, nothing lost: ", end="")
    print(", ".join(f"{name} {amount}" for name, amount in projected.items()))
    assert projected == dict(accounts.balances), "the projection differs from the log"
    assert min(projected.values()) >= 0, "somebody spent what was not there"
    assert sum(projected.values()) == 100 * len(NAMES), "money was made or lost"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "./event-log-data"))
