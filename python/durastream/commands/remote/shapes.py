"""What a stream's content looks like on standard output."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final

from durastream.commands.remote import jsonpieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from durastream.client import Chunk

RAW: Final = "raw"
JSONL: Final = "jsonl"
LINES: Final = "lines"
PRETTY: Final = "pretty"


def shape(content_type: str, name: str | None) -> Callable[[Chunk], bytes]:
    """How a chunk of a stream of this content type becomes output.

    Without a name: a JSON stream's messages one a line, the bytes of any other. The result raises
    ValueError when a page is not the JSON that it ought to be.
    """
    plain = content_type.partition(";")[0].strip().lower()
    is_json = plain == "application/json"
    if name == JSONL:
        return _json_records if is_json else _records(text=plain.startswith("text/"))
    if name == RAW or (name is None and not is_json):
        return _array if is_json else _bytes
    if not is_json:
        # JSON in a stream of another type: one value a line, wherever the appends were cut, is what
        # people keep in files. Only whole streams of it could be laid out, and those can be piped on.
        raise ValueError(f"--json is for streams of application/json; this one is {content_type}")
    return _pretty if name == PRETTY else _lines


def _bytes(chunk: Chunk) -> bytes:
    return chunk.data


def _array(chunk: Chunk) -> bytes:
    return chunk.data + b"\n" if chunk.data else b""


def _messages(chunk: Chunk) -> list[str]:
    return jsonpieces.elements(chunk.data.decode()) if chunk.data else []


def _lines(chunk: Chunk) -> bytes:
    return "".join(jsonpieces.one_line(message) + "\n" for message in _messages(chunk)).encode()


def _pretty(chunk: Chunk) -> bytes:
    return "".join(jsonpieces.pretty(message) + "\n" for message in _messages(chunk)).encode()


def _json_records(chunk: Chunk) -> bytes:
    if not _worth_telling(chunk):
        return b""
    messages = ",".join(map(jsonpieces.one_line, _messages(chunk)))
    return _record(chunk, f'"messages":[{messages}]')


def _records(*, text: bool) -> Callable[[Chunk], bytes]:
    def record(chunk: Chunk) -> bytes:
        if not _worth_telling(chunk):
            return b""
        if text:
            try:
                return _record(chunk, f'"text":{json.dumps(chunk.text(), ensure_ascii=False)}')
            except UnicodeDecodeError:
                pass
        return _record(chunk, f'"base64":"{base64.b64encode(chunk.data).decode()}"')

    return record


def _worth_telling(chunk: Chunk) -> bool:
    return bool(chunk.data) or chunk.closed


def _record(chunk: Chunk, content: str) -> bytes:
    up_to_date, closed = json.dumps(chunk.up_to_date), json.dumps(chunk.closed)
    return (
        f'{{"offset":{json.dumps(chunk.offset)},{content},'
        f'"up_to_date":{up_to_date},"closed":{closed}}}\n'
    ).encode()
