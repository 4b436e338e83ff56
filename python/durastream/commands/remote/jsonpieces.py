"""JSON text cut and laid out without changing a number, a name or an escape of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


# Only where values end is of interest: numbers of any size and precision stay text.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_PART: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+')
OPENING: Final = ("[", "{")
CLOSING: Final = ("]", "}")
_LINE_BREAKS: Final = re.compile(r"\s*[\r\n]\s*")


def value(text: str) -> str:
    """The text of the one value that `text` holds. Raises ValueError, with line and column."""
    found = _SPACE.match(text)
    assert found is not None
    begin = found.end()
    end = _end_of_value(text, begin)
    _at_end(text, end)
    return text[begin:end]


def elements(text: str) -> list[str]:
    """The texts of an array's elements. Raises ValueError, with line and column."""
    return list(_elements(text))


def _elements(text: str) -> Iterator[str]:
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise json.JSONDecodeError("Expecting an array", text, at)
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        _at_end(text, at + 1)
        return
    while True:
        end = _end_of_value(text, at)
        yield text[at:end]
        at = _skip(text, end)
        mark = text[at : at + 1]
        if mark == "]":
            _at_end(text, at + 1)
            return
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _skip(text, at + 1)


def _end_of_value(text: str, at: int) -> int:
    try:
        return _DECODER.raw_decode(text, at)[1]
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _at_end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def one_line(text: str) -> str:
    """A value on one line: line breaks in JSON are never within a string."""
    return _LINE_BREAKS.sub(" ", text) if "\n" in text or "\r" in text else text


def pretty(text: str) -> str:
    """A value over several lines, indented by two spaces."""
    out: list[str] = []
    depth = 0
    parts = _PART.findall(text)
    for before, part, after in zip(["", *parts], parts, [*parts[1:], ""], strict=False):
        if part in OPENING:
            depth += 1
            out.append(part)
            if after not in CLOSING:
                out.append("\n" + "  " * depth)
        elif part in CLOSING:
            depth -= 1
            if before not in OPENING:
                out.append("\n" + "  " * depth)
            out.append(part)
        elif part == ",":
            out.append(",\n" + "  " * depth)
        else:
            out.append(": " if part == ":" else part)
    return "".join(out)
