"""What `write` sends: arguments, a file or standard input, cut into messages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from durastream.commands.remote import jsonpieces
from durastream.commands.remote.ends import BadUsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PIECE: Final = 256 << 10
"""Bytes read at once, and so the most that travels in one request, but for longer messages."""
MOST_TO_HOLD: Final = 64 << 20
"""Longest message; servers have limits of their own."""

Messages = list[bytes]
"""Messages that may travel together, as they came together."""


def arguments(
    texts: Sequence[str], *, checked: Callable[[str, str], bytes] | None
) -> Iterator[Messages]:
    """Each argument a message. `checked` makes JSON of it."""
    messages = [
        os.fsencode(text) if checked is None else checked(text, f"message {number}")
        for number, text in enumerate(texts, 1)
    ]
    for message in messages:  # none is sent unless all are good
        yield [message]


def json_value(text: str, where: str) -> bytes:
    """The one JSON value in `text`. Raises BadUsageError."""
    try:
        return jsonpieces.value(text).encode()
    except ValueError as error:
        raise BadUsageError(f"{where} is not JSON: {error}") from None


def whole(fd: int, where: str) -> bytes:
    """Everything there is. Raises BadUsageError beyond `MOST_TO_HOLD`."""
    pieces = []
    held = 0
    while piece := os.read(fd, PIECE):
        pieces.append(piece)
        held += len(piece)
        if held > MOST_TO_HOLD:
            raise BadUsageError(
                f"{where} is over {MOST_TO_HOLD >> 20} MiB, too much for one message; "
                "give --lines, a message a line"
            )
    return b"".join(pieces)


def text_of(data: bytes, where: str) -> str:
    """Bytes as UTF-8. Raises BadUsageError."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadUsageError(f"{where} is not UTF-8, as JSON is: byte {error.start}") from None


def one_json(fd: int, where: str) -> Iterator[Messages]:
    """All of it as one JSON message."""
    yield [json_value(text_of(whole(fd, where), where), where)]


def json_array(fd: int, where: str) -> Iterator[Messages]:
    """A JSON array, each element a message."""
    text = text_of(whole(fd, where), where)
    try:
        elements = jsonpieces.elements(text)
    except ValueError as error:
        raise BadUsageError(f"{where} is not a JSON array: {error}") from None
    together: Messages = []
    held = 0
    for element in map(str.encode, elements):
        if together and held + len(element) > PIECE:
            yield together
            together, held = [], 0
        together.append(element)
        held += len(element)
    if together:
        yield together


def raw(fd: int, *, full: bool) -> Iterator[Messages]:
    """The bytes as they come; `full` waits for pieces of one size, which a repetition has, too."""
    while piece := _full_piece(fd) if full else os.read(fd, PIECE):
        yield [piece]


def _full_piece(fd: int) -> bytes:
    pieces = []
    left = PIECE
    while left and (piece := os.read(fd, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def lines(fd: int, where: str, *, as_json: bool) -> Iterator[Messages]:
    """Each line a message: of JSON the value, blank lines left out; else the line with its end."""
    number = 0
    for together in _lines(fd, where):
        messages: Messages = []
        for line in together:
            number += 1
            if not as_json:
                messages.append(line)
            elif stripped := line.strip():
                place = f"{where}, line {number}"
                try:
                    messages.append(json_value(text_of(stripped, place), place))
                except BadUsageError:
                    # What stands before it is good, and is told to have been written.
                    if messages:
                        yield messages
                    raise
        if messages:
            yield messages


def _lines(fd: int, where: str) -> Iterator[Messages]:
    """Whole lines, those together that one read gave."""
    rest: Messages = []
    held = 0
    while piece := os.read(fd, PIECE):
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            text = b"".join(rest) + head + newline
            rest, held = [], 0
            yield text.splitlines(keepends=True) if b"\r" not in text else _split(text)
        if tail:
            rest.append(tail)
            held += len(tail)
        if held > MOST_TO_HOLD:
            raise BadUsageError(f"{where}: a line is over {MOST_TO_HOLD >> 20} MiB")
    if rest:
        yield [b"".join(rest)]


def _split(text: bytes) -> Messages:
    """As `splitlines`, but a lone CR ends no line."""
    return [line + b"\n" for line in text.split(b"\n")[:-1]]
