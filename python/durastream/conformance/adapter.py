"""The suite's commands, carried out by either client."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Self

from durastream import __version__
from durastream.client import (
    BadRequest,
    ClientError,
    Conflict,
    ConnectionFailed,
    DurableStream,
    IdempotentProducer,
    ProtocolError,
    Retry,
    SeqConflict,
    StreamClosed,
    StreamNotFound,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream.client import AsyncStreamResponse, Chunk, StreamResponse
    from durastream.conformance.twins import AsyncTwin, SyncTwin

FEATURES = (
    "batching",
    "sse",
    "longPoll",
    "auto",
    "streaming",
    "dynamicHeaders",
    "retryOptions",
    "batchItems",
    "strictZeroValidation",
)
DEFAULT_TYPE = "application/octet-stream"
# The suite speaks of milliseconds and in its own names.
RETRY_OPTIONS = {
    "maxRetries": ("max_retries", 1),
    "initialDelayMs": ("initial_delay", 1000),
    "maxDelayMs": ("max_delay", 1000),
    "multiplier": ("multiplier", 1),
}
PRODUCER_OPTIONS = {
    "epoch": "epoch",
    "maxBatchBytes": "max_batch_bytes",
    "maxBatchItems": "max_batch_messages",
}

Result = dict[str, Any]


class Adapter:
    """Holds what commands share: content types, dynamic values and producers."""

    def __init__(self, twin: SyncTwin | AsyncTwin) -> None:
        self._twin = twin
        self._server = ""
        self._types: dict[str, str] = {}
        self._headers: dict[str, Dynamic] = {}
        self._params: dict[str, Dynamic] = {}
        self._producers: dict[tuple[str, str, int], Any] = {}

    async def __aenter__(self) -> Self:
        await self._twin.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._twin.__aexit__()

    async def answer(self, command: dict[str, Any]) -> Result:
        """Carry out a command; its result, or an error result."""
        kind = command["type"]
        method: Callable[[dict[str, Any]], Any] | None = getattr(
            self, "_do_" + kind.replace("-", "_"), None
        )
        if method is None:
            return failure(kind, "NOT_SUPPORTED", f"unknown command {kind}")
        try:
            result: Result = await method(command)
        except Exception as error:  # noqa: BLE001  (whatever it is, the suite is to hear of it)
            return refused(kind, error)
        return {"type": kind, "success": True, **result}

    async def _do_init(self, command: dict[str, Any]) -> Result:
        self._server = command["serverUrl"]
        for kept in (self._types, self._headers, self._params, self._producers):
            kept.clear()
        features = dict.fromkeys(FEATURES, True)
        return {
            "clientName": self._twin.name,
            "clientVersion": __version__,
            "features": features,
        }

    async def _do_create(self, command: dict[str, Any]) -> Result:
        kind = command.get("contentType") or DEFAULT_TYPE
        data = command.get("data")
        created = await self._stream(command).create(
            kind,
            ttl=command.get("ttlSeconds"),
            expires_at=command.get("expiresAt"),
            body=None if data is None else data.encode(),
            closed=command.get("closed") or False,
        )
        self._types[command["path"]] = kind
        return {"status": created.status, "offset": created.offset}

    async def _do_connect(self, command: dict[str, Any]) -> Result:
        head = await self._stream(command).connect()
        self._types[command["path"]] = head.content_type
        return {"status": 200, "offset": head.offset}

    async def _do_append(self, command: dict[str, Any]) -> Result:
        data = command["data"]
        message = base64.b64decode(data) if command.get("binary") else data.encode()
        seq = command.get("seq")
        appended = await self._stream(command).append(
            message, seq=None if seq is None else str(seq)
        )
        return {"status": 200, "offset": appended.offset, **self._sent()}

    async def _do_read(self, command: dict[str, Any]) -> Result:
        collector = Reading(
            command, {**self._headers, **(command.get("headers") or {})}, self._params
        )
        await self._twin.read(self._server + command["path"], collector)
        return {**collector.result(), **self._sent()}

    async def _do_head(self, command: dict[str, Any]) -> Result:
        head = await self._stream(command).head()
        self._types[command["path"]] = head.content_type
        return {
            "status": 200,
            "offset": head.offset,
            "contentType": head.content_type,
            "streamClosed": head.closed,
            "ttlSeconds": head.ttl,
            "expiresAt": head.expires_at,
        }

    async def _do_delete(self, command: dict[str, Any]) -> Result:
        await self._stream(command).delete()
        self._types.pop(command["path"], None)
        return {"status": 200}

    async def _do_close(self, command: dict[str, Any]) -> Result:
        data = command.get("data")
        closed = await self._stream(command).close(None if data is None else data.encode())
        return {"finalOffset": closed.offset}

    async def _do_idempotent_append(self, command: dict[str, Any]) -> Result:
        producer = await self._producer(command)
        await producer.append(command["data"].encode())
        await producer.flush()
        return {"status": 200}

    async def _do_idempotent_append_batch(self, command: dict[str, Any]) -> Result:
        # Several in flight only come about when batches are small.
        several = (command.get("maxInFlight") or 1) > 1
        producer = await self._twin.producer(
            self._stream(command),
            command["producerId"],
            epoch=command.get("epoch") or 0,
            auto_claim=command.get("autoClaim") or False,
            max_in_flight=command.get("maxInFlight") or 1,
            max_batch_bytes=1 if several else 1 << 20,
            linger=0.0 if several else 1.0,
            replay=True,  # the suite gives the same batch twice
        )
        try:
            for item in command["items"]:
                await producer.append(item.encode())
            await producer.flush()
        finally:
            await producer.detach()
        return {"status": 200}

    async def _do_idempotent_close(self, command: dict[str, Any]) -> Result:
        producer = await self._producer(command)
        data = command.get("data")
        closed = await producer.close(None if data is None else data.encode())
        return {"status": 200, "finalOffset": closed.offset}

    async def _do_idempotent_detach(self, command: dict[str, Any]) -> Result:
        await (await self._producer(command)).detach()
        del self._producers[_key(command)]
        return {"status": 200}

    async def _do_set_dynamic_header(self, command: dict[str, Any]) -> Result:
        self._headers[command["name"]] = Dynamic(command["valueType"], command.get("initialValue"))
        return {}

    async def _do_set_dynamic_param(self, command: dict[str, Any]) -> Result:
        self._params[command["name"]] = Dynamic(command["valueType"], command.get("initialValue"))
        return {}

    async def _do_clear_dynamic(self, _: dict[str, Any]) -> Result:
        self._headers.clear()
        self._params.clear()
        return {}

    async def _do_validate(self, command: dict[str, Any]) -> Result:
        target = command["target"]
        names: dict[str, str] = {}
        try:
            if target["target"] == "retry-options":
                given = {}
                for name, (ours, unit) in RETRY_OPTIONS.items():
                    names[ours] = name
                    if name in target:
                        given[ours] = target[name] / unit if unit > 1 else target[name]
                Retry(**given)
            else:
                names = {ours: name for name, ours in PRODUCER_OPTIONS.items()}
                options = {ours: target[n] for n, ours in PRODUCER_OPTIONS.items() if n in target}
                handle = DurableStream(f"{self._server}/validate")
                IdempotentProducer(handle, target.get("producerId", "test"), **options)
        except ValueError as error:
            message = str(error)
            for ours, name in names.items():
                message = message.replace(ours, name)
            return failure("validate", "INVALID_ARGUMENT", message)
        return {}

    async def _do_shutdown(self, _: dict[str, Any]) -> Result:
        return {}

    def _stream(self, command: dict[str, Any]) -> Any:  # noqa: ANN401  (either twin's)
        return self._twin.stream(
            self._server + command["path"],
            content_type=command.get("contentType") or self._types.get(command["path"]),
            headers={**self._headers, **(command.get("headers") or {})},
            params=dict(self._params),
        )

    async def _producer(self, command: dict[str, Any]) -> Any:  # noqa: ANN401  (either twin's)
        key = _key(command)
        if key not in self._producers:
            self._producers[key] = await self._twin.producer(
                self._stream(command),
                command["producerId"],
                epoch=command.get("epoch") or 0,
                auto_claim=command.get("autoClaim") or False,
            )
        return self._producers[key]

    def _sent(self) -> Result:
        """What the dynamic values of the last request were."""
        sent: Result = {}
        if self._headers:
            sent["headersSent"] = {name: value.last for name, value in self._headers.items()}
        if self._params:
            sent["paramsSent"] = {name: value.last for name, value in self._params.items()}
        return sent


class Dynamic:
    """A header or parameter that is asked for its value at every request."""

    def __init__(self, kind: str, initial: str | None) -> None:
        self._kind = kind
        self._count = 0
        self.last = initial or ""

    def __call__(self) -> str:
        """The value for one request."""
        self._count += 1
        if self._kind == "counter":
            self.last = str(self._count)
        elif self._kind == "timestamp":
            self.last = str(time.time_ns() // 1_000_000)
        return self.last


class Reading:
    """Collects what a `read` command asks for."""

    def __init__(self, command: dict[str, Any], headers: Any, params: Any) -> None:  # noqa: ANN401
        live = command.get("live") or False
        self.options = {
            "offset": command.get("offset") or "-1",
            "live": live,
            "headers": headers,
            "params": params,
        }
        self.live = bool(live)
        self.timeout = (command.get("timeoutMs") or 5000) / 1000
        self._most = command.get("maxChunks") or 100
        self._to_tail = command.get("waitForUpToDate") or False
        self._chunks: list[dict[str, str]] = []
        self._response: StreamResponse | AsyncStreamResponse | None = None

    def began(self, response: StreamResponse | AsyncStreamResponse) -> None:
        """The first answer is there."""
        self._response = response

    def whole(self, data: bytes) -> None:
        """Everything up to the tail."""
        self._keep(data)

    def chunk(self, chunk: Chunk) -> bool:
        """One chunk; whether that is enough."""
        self._keep(chunk.data)
        return len(self._chunks) >= self._most or (self._to_tail and chunk.up_to_date)

    def _keep(self, data: bytes) -> None:
        assert self._response is not None
        text = data.decode(errors="replace")
        if "json" in self._response.content_type:
            items = json.loads(text) if text else []
            if not isinstance(items, list):
                raise ProtocolError("the page is not a JSON array")
            text = json.dumps(items, separators=(",", ":"), ensure_ascii=False) if items else ""
        if text:
            self._chunks.append({"data": text, "offset": self._response.offset})

    def result(self) -> Result:
        """What the suite wants to know."""
        assert self._response is not None
        return {
            "status": self._response.status,
            "chunks": self._chunks,
            "offset": self._response.offset,
            "upToDate": self._response.up_to_date,
            "streamClosed": self._response.closed,
            "cursor": self._response.cursor,
        }


def _key(command: dict[str, Any]) -> tuple[str, str, int]:
    return command["path"], command["producerId"], command.get("epoch") or 0


def failure(kind: str, code: str, message: str, status: int | None = None) -> Result:
    """An error result."""
    result: Result = {
        "type": "error",
        "success": False,
        "commandType": kind,
        "errorCode": code,
        "message": message,
    }
    if status is not None:
        result["status"] = status
    return result


def refused(kind: str, error: Exception) -> Result:
    """The error result of an exception."""
    if not isinstance(error, ClientError):
        wrong = isinstance(error, ValueError | TypeError)
        parsing = isinstance(error, json.JSONDecodeError)
        code = "PARSE_ERROR" if parsing else "INVALID_ARGUMENT" if wrong else "INTERNAL_ERROR"
        return failure(kind, code, f"{type(error).__name__}: {error}")
    codes: tuple[tuple[type[ClientError], str], ...] = (
        (StreamNotFound, "NOT_FOUND"),
        (StreamClosed, "STREAM_CLOSED"),
        (SeqConflict, "SEQUENCE_CONFLICT"),
        (Conflict, "CONFLICT"),
        (ProtocolError, "PARSE_ERROR"),
        (ConnectionFailed, "NETWORK_ERROR"),
    )
    code = next((code for known, code in codes if isinstance(error, known)), "UNEXPECTED_STATUS")
    if kind == "read" and isinstance(error, BadRequest) and error.status == 400:
        code = "INVALID_OFFSET"
    return failure(kind, code, str(error), error.status)
