"""kill -9 of the server under concurrent idempotent producers: exactly once, in order."""

import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support.server import Server

STREAMS = {"bytes": "application/octet-stream", "json": "application/json"}
PRODUCERS = 8
KILLS = 6
BUDGET = 40.0  # seconds

ServerFactory = Callable[..., Server]


@dataclass
class Producer:
    """Sends the same (id, epoch, seq) until it is acknowledged, whatever happens to the server."""

    number: int
    server: Server
    version: str
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)  # offsets, by sequence number
    broken: int = 0  # connections, most with a request whose fate was unknown
    failure: BaseException | None = None

    @property
    def stream(self) -> str:
        return list(STREAMS)[self.number % len(STREAMS)]

    def body(self, seq: int) -> bytes:
        return b'"%d:%d;"' % (self.number, seq)

    def run(self) -> None:
        try:
            self._deliver()
        except BaseException as failure:  # noqa: BLE001  (told to the test, which fails)
            self.failure = failure

    def _deliver(self) -> None:
        """Goes on until the test ends, over as many connections as that takes."""
        deadline = time.monotonic() + BUDGET
        while time.monotonic() < deadline:
            if not self.server.url:  # just being started: it has no port yet
                time.sleep(0.02)
                continue
            try:
                with client(self.server.url, self.version) as connection:
                    self._send_on(connection)
            except httpx.TransportError:
                self.broken += 1
                time.sleep(0.02)
            else:
                return
        raise TimeoutError(f"producer {self.number} could not deliver {len(self.acknowledged)}")

    def _send_on(self, connection: httpx.Client) -> None:
        while True:
            seq = len(self.acknowledged)
            triple = {
                "Producer-Id": f"p{self.number}",
                "Producer-Epoch": "0",
                "Producer-Seq": str(seq),
            }
            headers = {"Content-Type": STREAMS[self.stream], **triple}
            path = f"/v1/stream/crash/{self.stream}"
            answer = connection.post(path, content=self.body(seq), headers=headers)
            assert answer.http_version == self.version
            assert answer.status_code in (200, 204), (answer.status_code, seq, answer.headers)
            assert answer.headers["Producer-Seq"] == str(seq)
            self.acknowledged.append(answer.headers["Stream-Next-Offset"])
            if self.stop.is_set():
                return


def client(url: str, version: str) -> httpx.Client:
    """One connection for this version, made by the first request."""
    http2 = version == "HTTP/2"
    return httpx.Client(base_url=url, http1=not http2, http2=http2, timeout=5, trust_env=False)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_every_acknowledged_message_is_there_once_and_in_order(
    server_factory: ServerFactory, tmp_path: Path, version: str
) -> None:
    chance = random.Random(11)
    server = server_factory(data=tmp_path / "data")
    for name, content_type in STREAMS.items():
        target = f"{server.url}/v1/stream/crash/{name}"
        assert (
            httpx.put(target, headers={"Content-Type": content_type}, trust_env=False).status_code
            == 201
        )
    stop = threading.Event()
    producers = [Producer(n, server, version, stop) for n in range(PRODUCERS)]
    threads = [threading.Thread(target=producer.run) for producer in producers]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.3, 1.2))
        server.kill()
        server.start()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join(BUDGET)
    for producer in producers:
        assert producer.failure is None, producer.failure
    server.kill()
    server.start()
    for name in STREAMS:
        check(server, name, [producer for producer in producers if producer.stream == name])
    assert sum(producer.broken for producer in producers) >= KILLS
    assert min(len(producer.acknowledged) for producer in producers) > 10, (
        "too little happened to prove anything"
    )


def check(server: Server, name: str, producers: list[Producer]) -> None:
    whole, offset = b"", "-1"
    while True:
        page = httpx.get(
            f"{server.url}/v1/stream/crash/{name}", params={"offset": offset}, trust_env=False
        )
        assert page.status_code == 200
        whole, offset = whole + page.content, page.headers["stream-next-offset"]
        if page.headers.get("stream-up-to-date") == "true":
            break
    found = [(int(p), int(s)) for p, s in re.findall(rb'"(\d+):(\d+);"', whole)]
    for producer in producers:
        seqs = [seq for number, seq in found if number == producer.number]
        assert seqs == list(range(len(producer.acknowledged)))
        # A repeat is answered with the tail of its time, so offsets may only repeat or grow.
        assert producer.acknowledged == sorted(producer.acknowledged)
    assert len(found) == sum(len(producer.acknowledged) for producer in producers)
