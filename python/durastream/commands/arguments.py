"""How a command's arguments are read and its help is shown: in any order, wrapped."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Formatter(argparse.HelpFormatter):
    """Wraps a text that is one line, and leaves one that has several as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(f"{indent}{line}" for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class CommandParser(argparse.ArgumentParser):
    """The arguments of one command. Flags may stand before, between and behind what is no flag.

    What it does not know it refuses itself, so that the usage shown is its own.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  (argparse's own)
        super().__init__(**{"formatter_class": Formatter, **options})

    def parse_known_args(
        self,
        args: Iterable[str] | None = None,
        namespace: Any = None,  # noqa: ANN401  (any object takes attributes)
    ) -> Any:  # noqa: ANN401
        """Parse all of it, or end with the usage."""
        ordered = args if args is None else self._flags_first(list(args))
        given, unknown = super().parse_known_args(ordered, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return given, []

    def _flags_first(self, words: list[str]) -> list[str]:
        """The same words, flags with their values before the others.

        argparse takes "no MESSAGE at all" for given as soon as it has seen STREAM and then a flag.
        """
        flags: list[str] = []
        others: list[str] = []
        left = iter(words)
        for word in left:
            if word == "--":
                return [*flags, *others, word, *left]
            if self._parse_optional(word) is None:
                others.append(word)
                continue
            flags.append(word)
            if self._takes_the_next(word):
                flags.extend(word for word in (next(left, None),) if word is not None)
        return [*flags, *others]

    def _takes_the_next(self, flag: str) -> bool:
        """Whether the word behind a flag is its value. Flags take one value or none."""
        known = self._option_string_actions
        meant = known.get(flag)
        if meant is None and flag.startswith("--") and "=" not in flag:
            longer = [action for name, action in known.items() if name.startswith(flag)]
            meant = longer[0] if len(longer) == 1 else None
        return meant is not None and meant.nargs is None
