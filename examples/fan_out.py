"""Change data capture: a database's changes go to a stream, and from there to any number of consumers.

`python -m examples.fan_out [NEW_DIRECTORY]`

Triggers write each change of a SQLite table into an outbox, in the transaction of the change itself. A relay
appends the outbox to a stream; its producer numbers make each change arrive once, though the relay crashes
between appending and remembering that it did. Consumers follow the stream at their own pace, keep their
offset with what they made of it, and crash too. In the end all of them agree with the table.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from durastream import LogEngine, Offset

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = "changes/products"
CHANGES = 400
BATCH = 50
WORDS = ("green", "tea", "pot", "cup", "black", "spoon")
SCHEMA = """
CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, change TEXT NOT NULL);
CREATE TABLE sent (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), id INTEGER NOT NULL);
INSERT INTO sent VALUES (1, 0);
CREATE TRIGGER inserted AFTER INSERT ON product BEGIN INSERT INTO outbox (change) VALUES
  (json_object('op', 'insert', 'id', new.id, 'new', json_object('name', new.name, 'stock', new.stock))); END;
CREATE TRIGGER updated AFTER UPDATE ON product BEGIN INSERT INTO outbox (change) VALUES
  (json_object('op', 'update', 'id', new.id, 'old', json_object('name', old.name, 'stock', old.stock),
               'new', json_object('name', new.name, 'stock', new.stock))); END;
CREATE TRIGGER deleted AFTER DELETE ON product BEGIN INSERT INTO outbox (change) VALUES
  (json_object('op', 'delete', 'id', old.id, 'old', json_object('name', old.name, 'stock', old.stock))); END;
"""


class CrashedError(Exception):
    """Pretended: whatever was in memory is gone."""


def shop(database: Path) -> None:
    """Somebody works with the table and knows of no stream."""
    chance = random.Random(1)  # noqa: S311  (no secret)
    with closing(sqlite3.connect(database, timeout=30)) as db:
        for _ in range(CHANGES):
            with db:
                known = [row[0] for row in db.execute("SELECT id FROM product")]
                what = chance.random()
                if what < 0.4 or not known:
                    new = (" ".join(chance.sample(WORDS, 2)), chance.randint(1, 9))
                    db.execute("INSERT INTO product (name, stock) VALUES (?, ?)", new)
                elif what < 0.8:
                    counted = (chance.randint(0, 9), chance.choice(known))
                    db.execute("UPDATE product SET stock = ? WHERE id = ?", counted)
                else:
                    db.execute("DELETE FROM product WHERE id = ?", (chance.choice(known),))


def relay(log: LogEngine, database: Path, shop_closed: threading.Event, crashes: Crashes) -> None:
    """Append what is in the outbox; close the stream when nothing more will come."""
    with closing(sqlite3.connect(database, timeout=30)) as db:
        while True:
            last_round = shop_closed.is_set()
            rows = db.execute(
                "SELECT id, change FROM outbox WHERE id > (SELECT id FROM sent) ORDER BY id LIMIT ?",
                (BATCH,),
            ).fetchall()
            if rows:
                # The outbox counts from 1 without gaps, a producer from 0.
                log.append_many(
                    (STREAM, change.encode(), ("relay", 0, number - 1)) for number, change in rows
                )
                crashes.maybe()
                with db:
                    db.execute("UPDATE sent SET id = ?", (rows[-1][0],))
            elif last_round:
                log.close_stream(STREAM)
                return
            else:
                shop_closed.wait(0.01)


class Consumer:
    """Something made of the changes, in a file together with the offset that it reaches to."""

    name: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self._file = directory / f"{self.name}.json"
        saved = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._offset: Offset | str = saved.get("offset", "-1")
        self.made: dict[str, Any] = saved.get("made", {})

    def run(self, log: LogEngine, crashes: Crashes) -> None:
        """Follow the stream to its end."""
        for page in log.follow(STREAM, self._offset, max_bytes=4096):
            for change in page.json():
                self.see(change)
            crashes.maybe()
            # One rename: offset and content are never of different moments.
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps({"offset": str(page.next_offset), "made": self.made}))
            new.replace(self._file)

    def see(self, change: dict[str, Any]) -> None:
        """Take one change in."""
        raise NotImplementedError


class Copy(Consumer):
    """The table once more, as a cache has it."""

    name = "copy"

    def see(self, change: dict[str, Any]) -> None:
        """Take one change in."""
        if change["op"] == "delete":
            del self.made[str(change["id"])]
        else:
            self.made[str(change["id"])] = change["new"]


class Index(Consumer):
    """Which products have a word in their name, as a search index has it."""

    name = "index"

    def see(self, change: dict[str, Any]) -> None:
        """Take one change in."""
        for word in change.get("old", {}).get("name", "").split():
            self.made[word].remove(change["id"])
        for word in change.get("new", {}).get("name", "").split():
            self.made.setdefault(word, []).append(change["id"])


class Stock(Consumer):
    """Pieces in all and changes seen: taking one in twice would show."""

    name = "stock"

    def see(self, change: dict[str, Any]) -> None:
        """Take one change in."""
        more = change.get("new", {}).get("stock", 0) - change.get("old", {}).get("stock", 0)
        self.made["pieces"] = self.made.get("pieces", 0) + more
        self.made["changes"] = self.made.get("changes", 0) + 1


class Crashes:
    """Crashes now and then."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311  (no secret)
        self.count = 0

    def maybe(self) -> None:
        """Crash, or not. Raises CrashedError."""
        if self._chance.random() < 0.3:
            self.count += 1
            raise CrashedError


def restarted(run: Callable[[], None]) -> None:
    """Start something again whenever it crashes, as a service manager does, until it ends well."""
    while True:
        try:
            return run()
        except CrashedError:
            continue


def main(directory: Path) -> None:
    """Run shop, relay and consumers at once, and compare them at the end."""
    database = directory / "shop.sqlite"
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
    shop_closed, crashes = threading.Event(), [Crashes(seed) for seed in range(4)]
    kinds = (Copy, Index, Stock)
    with LogEngine(directory / "log") as log, ThreadPoolExecutor(5) as pool:
        log.create(STREAM, content_type="application/json")
        runs = [partial(consume, kind, directory, log, crashes[n]) for n, kind in enumerate(kinds)]
        runs.append(partial(relay, log, database, shop_closed, crashes[3]))
        running = [pool.submit(restarted, run) for run in runs]
        try:
            shop(database)
        finally:
            shop_closed.set()
        for each in running:
            each.result()
    copy, index, stock = (kind(directory).made for kind in kinds)
    compare(database, copy, index, stock)
    print(
        f"{stock['changes']} changes, {crashes[3].count} crashes of the relay, "
        f"{sum(each.count for each in crashes[:3])} of the consumers: all agree with the table"
    )


def consume(kind: type[Consumer], directory: Path, log: LogEngine, crashes: Crashes) -> None:
    """One life of a consumer."""
    kind(directory).run(log, crashes)


def compare(
    database: Path, copy: dict[str, Any], index: dict[str, Any], stock: dict[str, Any]
) -> None:
    """Check what consumers made against the table that they never saw."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute("SELECT id, name, stock FROM product").fetchall()
    words = Counter(word for _, name, _ in rows for word in name.split())
    assert copy == {str(number): {"name": name, "stock": n} for number, name, n in rows}
    assert {word: len(found) for word, found in index.items() if found} == dict(words)
    assert stock == {"pieces": sum(n for *_, n in rows), "changes": CHANGES}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
