"""Steps performed on httpx by the calling thread."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpx

from durastream.client.apart import ThreadClient
from durastream.client.core import beneath, clients
from durastream.client.core.steps import Answer, Broken, Current, Operation, Request, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from durastream.client.core.reader import Reading
    from durastream.client.results import Chunk

T = TypeVar("T")

_shared: dict[int, httpx.Client] = {}
_shared_lock = threading.Lock()


def shared_client() -> httpx.Client:
    """The client of this process for those who bring none; its connections are pooled."""
    found = _shared.get(os.getpid())
    if found is None:
        with _shared_lock:
            found = _shared.get(os.getpid())
            if found is None:
                # A client inherited through fork() shares its sockets with the parent: never touch it.
                found = _shared[os.getpid()] = ThreadClient(**clients.client_options())
                atexit.register(found.close)
    return found


class Cancelled(Exception):
    """`cancel()` was called while a step was going on."""


class Wire:
    """One operation's way to the server: at most one answer is open at a time."""

    def __init__(self, client: httpx.Client | None, timeout: float | None) -> None:
        self._client = client or shared_client()
        self._timeout = clients.timeouts(self._client, client is None, timeout)
        self._response: httpx.Response | None = None
        self._url = httpx.URL()
        self._pieces: Iterator[bytes] = iter(())
        self._body: beneath.Body | None = None
        self._cancelled = threading.Event()
        # A connection that is back in the pool is another's: `cancel` must not find it through this answer.
        self._ending = threading.RLock()

    def send(self, request: Request) -> Answer:
        """Send it and read the whole answer."""
        built = self._marked(request)
        try:
            response = self._client.send(built)
        except BaseException as error:
            if (meaning := self._lost(error, built.url)) is None:
                raise
            raise meaning from error
        return Answer(response.status_code, response.headers, response.content)

    def begin(self, request: Request) -> Answer:
        """Send it and read the head of the answer."""
        self.shut()
        if self._cancelled.is_set():
            raise Cancelled
        built = self._marked(request)
        try:
            response = self._client.send(built, stream=True)
        except BaseException as error:
            if (meaning := self._lost(error, built.url)) is None:
                raise
            raise meaning from error
        self._response = response
        self._url = built.url
        # Undecoded bytes are handed through without httpx's second look at each piece.
        decoded = "content-encoding" in response.headers or response.is_stream_consumed
        self._pieces = response.iter_bytes() if decoded else response.iter_raw()
        self._body = None if decoded else beneath.body(response, beneath.READ_SIZE)
        return Answer(response.status_code, response.headers)

    def piece(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        try:
            if self._body is not None:
                return self._piece_of(self._body)
            for data in self._pieces:
                if data:
                    return data
        except Exception as error:
            if (meaning := self._lost(error, self._url)) is None:
                raise
            raise meaning from error
        if self._cancelled.is_set():
            raise Cancelled
        self._response = None
        return b""

    def lent(self) -> bytes | memoryview:
        """As `piece`; what it gives is gone at the next step."""
        found: memoryview | None = None
        if self._body is not None and (room := self._body.room()) is not None:
            try:
                found = self._body.read_into(room)
            except Exception as error:
                if (meaning := self._lost(error, self._url)) is None:
                    raise
                raise meaning from error
        return self.piece() if found is None else found

    def _piece_of(self, body: beneath.Body) -> bytes:
        data, body.first = body.first, b""
        while not data and not body.ended:
            data = body.read()
        if not data:
            with self._ending:
                self._body = self._response = None
                body.finish()
                for _ in self._pieces:
                    pass
        return data

    def rest(self) -> bytes:
        """The rest of the body."""
        return b"".join(iter(self.piece, b""))

    def _marked(self, request: Request) -> httpx.Request:
        built = clients.build(self._client, request, self._timeout)
        built.extensions |= {beneath.MARK: self, beneath.GUARD: self._ending}
        return built

    def _lost(self, error: BaseException, url: httpx.URL) -> Exception | None:
        meaning = clients.lost(self._client, url, error)
        return Cancelled() if meaning is not None and self._cancelled.is_set() else meaning

    def shut(self) -> None:
        """Give the connection back; a body not read to its end costs the connection."""
        response, self._response, self._pieces = self._response, None, iter(())
        self._body = None
        if response is not None:
            if response.http_version == "HTTP/2" and not response.is_closed:
                beneath.retire(self._client, self._url)
            response.close()

    def cancel(self) -> None:
        """Wake the thread that waits in a step; it gets `Cancelled`. From any thread."""
        self._cancelled.set()
        with self._ending:
            self._wake()

    def _wake(self) -> None:
        response = self._response
        if response is not None and response.is_closed:
            return
        if response is None:
            waiting = beneath.socket_of(self._client, self)
        elif response.http_version == "HTTP/2" and not isinstance(self._client, ThreadClient):
            return  # several answers share the connection: this one is noticed with its next bytes
        else:
            stream = response.extensions.get("network_stream")
            waiting = None if stream is None else beneath.socket_under(stream)
        if waiting is not None:
            with contextlib.suppress(OSError):  # it ended by itself
                # Past TLS, whose state belongs to the thread that reads.
                socket.socket.shutdown(waiting, socket.SHUT_RDWR)

    def sleep(self, seconds: float) -> None:
        """Wait, but not through a `cancel`."""
        if self._cancelled.wait(seconds):
            raise Cancelled

    def current(self, headers: Mapping[str, Any], params: Mapping[str, Any]) -> Current:
        """Ask the callables among the values."""
        return Current(
            {name: value() if callable(value) else value for name, value in headers.items()},
            {name: value() if callable(value) else value for name, value in params.items()},
        )

    def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
        """Call a function of the caller's."""
        return function(*arguments)


def perform(operation: Operation[T], wire: Wire) -> T:
    """Run an operation to its end."""
    try:
        step = next(operation)
        while True:
            try:
                result = getattr(wire, step.name)(*step.arguments)
            except Broken as broken:
                step = operation.throw(broken)
            else:
                step = operation.send(result)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        operation.close()


class Reel:
    """A reading operation, advanced from one list of chunks to the next."""

    def __init__(self, reading: Reading, wire: Wire) -> None:
        self._reading = reading
        self._wire = wire
        self._interrupted: Step | None = None
        self.ended = False

    def advance(self) -> list[Chunk] | None:
        """The next chunks; `None` at the end. Interrupted (Ctrl-C, say), it goes on at the next call."""
        if self.ended:
            return None
        try:
            return self._advance()
        except StopIteration:
            self.end()
        except Cancelled:
            self.end()
        except Exception:
            self.end()
            raise
        except BaseException:
            self._wire.shut()
            raise
        return None

    def _advance(self) -> list[Chunk]:
        step = self._resumed()
        while not isinstance(step, list):
            self._interrupted = step
            try:
                result = getattr(self._wire, step.name)(*step.arguments)
            except Broken as broken:
                step = self._reading.throw(broken)
            else:
                step = self._reading.send(result)
        self._interrupted = None
        return step

    def _resumed(self) -> Step | list[Chunk]:
        step, self._interrupted = self._interrupted, None
        if step is None or step.name in ("sleep", "ask"):
            return self._reading.send(None)
        return self._reading.throw(Broken("interrupted", sent=True, interrupted=True))

    def end(self) -> None:
        """Give everything back."""
        self.ended = True
        self._reading.close()
        self._wire.shut()
