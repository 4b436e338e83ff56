"""A line on the terminal that says how far a transfer is."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Final, Self

from durastream.commands.report import size

if TYPE_CHECKING:
    from types import TracebackType

FIRST_AFTER: Final = 0.2
"""Seconds before anything shows: what is quick needs no bar."""
EVERY: Final = 0.1
CLEAR: Final = "\r\x1b[K"


class Progress:
    """Shown on standard error while it is a terminal and the transfer runs; gone when it ends."""

    def __init__(self, total: int | None, *, shown: bool) -> None:
        self._total = total or None
        self._shown = shown
        self._begun = time.monotonic()
        self._next = self._begun + FIRST_AFTER
        self._drawn = False
        self.bytes = 0
        self.messages = 0

    def add(self, count: int, messages: int) -> None:
        """So many bytes and messages more are done."""
        self.bytes += count
        self.messages += messages
        self.refresh()

    def refresh(self) -> None:
        """Draw it if it is time."""
        now = time.monotonic()
        if self._shown and now >= self._next:
            self._next = now + EVERY
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(CLEAR + self._line(now)[:width])
            sys.stderr.flush()
            self._drawn = True

    def _line(self, now: float) -> str:
        rate = self.bytes / (now - self._begun)
        done = f"{self.messages:,} messages  {size(rate)}/s"
        if self._total is None:
            return f"{size(self.bytes)}  {done}"
        part = min(1.0, self.bytes / self._total)
        bar = "#" * round(20 * part)
        left = f"  {(self._total - self.bytes) / rate:.0f} s left" if rate and part < 1 else ""
        return f"[{bar:.<20}] {part:4.0%}  {size(self.bytes)} of {size(self._total)}  {done}{left}"

    def clear(self) -> None:
        """Take it off the terminal, for what is to be said there."""
        if self._drawn:
            sys.stderr.write(CLEAR)
            sys.stderr.flush()
            self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
