"""A proxy that hurts what passes through it: errors, delays, cuts, lost answers, garbage.

It speaks enough HTTP/1.1 (`proxy_h2`: HTTP/2) to see requests one by one; each travels to the server on a connection of its own.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qs, urlsplit

import trio

MOST = 1 << 16


@dataclass(frozen=True)
class Seen:
    """A request as the client sent it."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What to do to a request or to its answer."""

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    """Seconds before anything else."""
    drop: bool = False
    """Close without an answer; the request does not reach the server."""
    lose: bool = False
    """Close without an answer; the server has carried out the request."""
    cut_after: float = math.inf
    """Close when this many bytes of the answer's body, as framed, have passed."""
    stall: bool = False
    """Where it would be cut: be silent, and keep the connection."""
    inject: bytes = b""
    """Goes before the body."""
    corrupt: Callable[[bytes], bytes] | None = None
    """Changes each piece of the body; the length must stay the same."""


Plan = Callable[[Seen], Fault | None]


class Proxy:
    """Listens on a free port and forwards to `server`, which may be changed at any time."""

    scheme = "http"

    def __init__(self, server: str) -> None:
        self.server = server
        self.plan: Plan | None = None
        self.seen: list[Seen] = []
        self.url = ""
        self._faults: list[tuple[Fault, Plan]] = []
        self._scopes: set[trio.CancelScope] = set()

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._token.run_sync_soon(self._stop.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def inject(self, fault: Fault, times: int = 1, **only: str) -> None:
        """Do this to the next requests; `only` names their method or query parameters (`live="sse"`)."""

        def fits(seen: Seen) -> Fault | None:
            facts = {"method": seen.method, "path": seen.path, **seen.params}
            return fault if all(facts.get(k) == v for k, v in only.items()) else None

        self._faults.extend((fault, fits) for _ in range(times))

    def cut(self) -> None:
        """Close every connection there is."""
        self._token.run_sync_soon(self._cut)

    def _cut(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    def methods(self) -> list[str]:
        return [seen.method for seen in self.seen]

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"{self.scheme}://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        with trio.CancelScope() as self._stop:
            self._ready.set()
            await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await self._requests(client)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # either side went away
            finally:
                self._scopes.discard(scope)
                with trio.CancelScope(shield=True):
                    await trio.aclose_forcefully(client)

    async def _requests(self, client: trio.SocketStream) -> None:
        while True:
            head, body = await read_head(client)
            if not head:
                return
            seen, raw = await read_request(client, head, body)
            self.seen.append(seen)
            if not await self._answer(client, seen, raw, self.fault_for(seen)):
                return

    def fault_for(self, seen: Seen) -> Fault:
        """What happens to this request."""
        for number, (_, fits) in enumerate(self._faults):
            if (fault := fits(seen)) is not None:
                del self._faults[number]
                return fault
        return (self.plan(seen) if self.plan else None) or Fault()

    async def _answer(
        self, client: trio.SocketStream, seen: Seen, raw: bytes, fault: Fault
    ) -> bool:
        """Answer one request; whether the connection may carry another."""
        await trio.sleep(fault.delay)
        if fault.drop:
            return False
        if fault.status is not None:
            body = b"injected"
            lines = [f"HTTP/1.1 {fault.status} Injected", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in fault.headers]
            text = "" if seen.method == "HEAD" else body.decode()
            await client.send_all(("\r\n".join(lines) + "\r\n\r\n" + text).encode())
            return True
        parts = urlsplit(self.server)
        upstream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
        async with upstream, trio.open_nursery() as nursery:
            # A client that goes away in the middle takes its request with it.
            nursery.start_soon(self._until_gone, client, nursery.cancel_scope)
            await upstream.send_all(raw)
            await self._forward(upstream, client, fault)
            nursery.cancel_scope.cancel()
        return False

    async def _until_gone(self, client: trio.SocketStream, scope: trio.CancelScope) -> None:
        if not await client.receive_some(MOST):
            scope.cancel()

    async def _forward(
        self, upstream: trio.SocketStream, client: trio.SocketStream, fault: Fault
    ) -> None:
        head, piece = await read_head(upstream)
        if fault.lose:
            while await upstream.receive_some(MOST):
                pass
            return
        await client.send_all(head)
        if fault.inject:
            chunked = b"transfer-encoding: chunked" in head.lower()
            framed = b"%x\r\n%s\r\n" % (len(fault.inject), fault.inject)
            await client.send_all(framed if chunked else fault.inject)
        passed = 0
        while True:
            left = fault.cut_after - passed
            if len(piece) >= left:
                await client.send_all(piece[: int(left)])
                if fault.stall:
                    await trio.sleep_forever()
                return
            if piece:
                passed += len(piece)
                await client.send_all(fault.corrupt(piece) if fault.corrupt else piece)
            piece = await upstream.receive_some(MOST)
            if not piece:
                return


async def read_head(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """A message's head with its empty line, and what came after it; empty at the end."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = await stream.receive_some(MOST)
        if not piece:
            return b"", b""
        data += piece
    return bytes(data[: end + 4]), bytes(data[end + 4 :])


async def read_request(stream: trio.SocketStream, head: bytes, body: bytes) -> tuple[Seen, bytes]:
    """A request, and its bytes for a connection that ends with the answer."""
    line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
    }
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        piece = await stream.receive_some(MOST)
        if not piece:
            raise trio.BrokenResourceError
        body += piece
    parts = urlsplit(target)
    params = {name: values[0] for name, values in parse_qs(parts.query).items()}
    kept = [f for f in fields if not f.lower().startswith("connection:")]
    raw = "\r\n".join([line, *kept, "Connection: close", "", ""]).encode("latin-1") + body
    return Seen(method, parts.path, params, headers, body), raw
