"""With the official packages: our client at their server, their clients at ours."""

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import durable_streams
import pytest

from durastream.client import DurableStream, IdempotentProducer, Live, ProducerFenced, stream
from support.server import Server

from .conftest import Room
from .faces import Face

NODE = Path(__file__).parent.parent / "conformance"
REFERENCE = """
import { DurableStreamTestServer } from "@durable-streams/server";
const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 500 });
await server.start();
console.log(server.url);
process.stdin.on("end", () => process.exit(0)).resume();
"""
THEIR_CLIENT = """
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
const url = process.env.STREAM_URL;
const handle = await DurableStream.create({ url, contentType: "application/json" });
await handle.append(JSON.stringify({ n: 0 }));
const producer = new IdempotentProducer(handle, "ts", { lingerMs: 0, maxInFlight: 5 });
for (let n = 1; n < 50; n++) producer.append(JSON.stringify({ n }));
await producer.flush();
const found = {};
for (const live of [false, "long-poll", "sse"]) {
  const got = [];
  const response = await stream({ url, offset: "-1", live });
  if (live === false) got.push(...(await response.json()));
  else await new Promise((resolve) => response.subscribeJson(async (batch) => {
    got.push(...batch.items);
    if (got.length >= 50) { response.cancel(); resolve(); }
  }));
  found[String(live)] = got.map((item) => item.n);
}
await producer.close(JSON.stringify({ n: 50 }));
console.log(JSON.stringify(found));
process.exit(0);
"""


@pytest.fixture(scope="module")
def reference() -> Iterator[str]:
    """The URL of the reference server."""
    node = subprocess.Popen(
        ["node", "--input-type=module", "-e", REFERENCE],
        cwd=NODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with node:
        assert node.stdout is not None
        yield node.stdout.readline().strip()
        node.kill()


@pytest.mark.anyio
@pytest.mark.parametrize("live", [False, "long-poll", "sse", True])
@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
async def test_our_client_at_the_reference_server(
    reference: str, twin: str, face: Face, live: Live, kind: str
) -> None:
    handle = face.handle(f"{reference}/{twin}-{live}-{kind.replace('/', '-')}")
    await handle.create(kind)
    as_json = kind == "application/json"
    given = [{"n": n} if as_json else bytes([n]) * 3 for n in range(60)]
    async with face.producer(handle, "p", max_batch_messages=4, linger=0) as producer:
        for message in given:
            await producer.append(message)
        await producer.flush()
        if live is not False:
            await producer.close()
    async with face.read(handle.url, live=live) as response:
        if as_json:
            assert [message async for message in response.iter_json()] == given
        else:
            assert await response.read() == b"".join(bytes([n]) * 3 for n in range(60))
        assert response.closed == (live is not False)
    await handle.delete()


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_the_reference_server_tells_which_epochs_were_used(reference: str, kind: str) -> None:
    handle = DurableStream(f"{reference}/epochs-{kind.replace('/', '-')}")
    handle.create(kind)
    assert handle.next_producer_seq("p") == 0
    for epoch in range(3):
        with IdempotentProducer(handle, "p", auto_claim=True) as producer:
            producer.append(str(epoch))
        assert producer.epoch == epoch
    assert handle.next_producer_seq("p", epoch=2) == 1
    assert handle.next_producer_seq("p", epoch=7) == 0
    with pytest.raises(ProducerFenced) as raised:
        handle.next_producer_seq("p")
    assert raised.value.current_epoch == 2
    with (
        pytest.raises(ProducerFenced, match="used epoch 2 before"),
        IdempotentProducer(handle, "p", epoch=2) as producer,
    ):
        producer.append("lost")
    with stream(handle.url) as response:
        content = response.json() if kind == "application/json" else list(response.text())
    assert content == ["0", "1", "2"]
    with IdempotentProducer(handle, "p", auto_claim=True) as producer:
        producer.close()
    assert handle.head().closed
    handle.delete()


def test_the_official_typescript_client_at_our_server(room: Room, version: str) -> None:
    fetching = ["--import", "./h2.js"] if version == "HTTP/2" else []
    finished = subprocess.run(
        ["node", *fetching, "--input-type=module", "-e", THEIR_CLIENT],
        cwd=NODE,
        env=os.environ | {"STREAM_URL": room.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found == {mode: list(range(50)) for mode in ("false", "long-poll", "sse")}
    with stream(room.url, live=True) as response:
        assert [message["n"] for message in response.iter_json()] == list(range(51))


def test_the_official_python_client_at_our_server(room: Room, server: Server) -> None:
    """With a client of ours, which speaks the cell's version."""
    handle = durable_streams.DurableStream.create(
        room.url, content_type="application/json", client=room.plain
    )
    for n in range(20):
        handle.append({"n": n})
    with durable_streams.stream(room.url, offset="-1", live=False, client=room.plain) as response:
        assert [item["n"] for item in response.iter_json()] == list(range(20))
    for live in ("long-poll", "sse"):
        with durable_streams.stream(
            room.url, offset="-1", live=live, client=room.plain
        ) as response:
            items = itertools.islice(response.iter_json(), 20)
            assert [item["n"] for item in items] == list(range(20)), live
    handle.delete()
    handle.close()
    assert server.running()
