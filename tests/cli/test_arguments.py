"""Flags and what is no flag may come in any order; what is unknown is refused by the command itself."""

import itertools
from collections.abc import Iterator

import pytest

from durastream.cli import parser

from .conftest import Run

WRITES = (
    ("--json",),
    ("--timeout", "5"),
    ("--timeout=5",),
    ("--retry", "5"),
    ("--producer", "p", "--header", "X: y"),
    ("--if-match", "0000000000000001_0000000000000020"),
    ("--seq", "-1"),
    ("--print-offset",),
)


def orders(words: tuple[str, ...], flags: tuple[str, ...]) -> Iterator[list[str]]:
    """The words in their order, the flags together anywhere among them."""
    for place in range(len(words) + 1):
        yield [*words[:place], *flags, *words[place:]]


@pytest.mark.parametrize("flags", WRITES, ids=" ".join)
@pytest.mark.parametrize("messages", [("{}",), ("{}", "-1", "a b"), ("-",)], ids=len)
def test_a_message_is_one_wherever_the_flags_are(
    flags: tuple[str, ...], messages: tuple[str, ...]
) -> None:
    found = [
        vars(parser().parse_args(["write", *order])) for order in orders(("s", *messages), flags)
    ]
    assert (found[0]["stream"], found[0]["messages"]) == ("s", list(messages))
    assert all(each == found[0] for each in found)


def test_flags_may_be_scattered() -> None:
    expected = vars(
        parser().parse_args(["write", "--json", "--timeout", "5", "--seq", "a", "s", "1", "2"])
    )
    pieces = (["--json"], ["--timeout", "5"], ["--seq", "a"])
    for first, second, third in itertools.permutations(pieces):
        given = ["write", *first, "s", *second, "1", *third, "2"]
        assert vars(parser().parse_args(given)) == expected


def test_behind_two_dashes_nothing_is_a_flag() -> None:
    for given in (
        ["write", "s", "--json", "--", "--lines", "-x"],
        ["write", "--json", "--", "s", "--lines", "-x"],
        ["write", "--json", "s", "--", "--lines", "-x"],
    ):
        found = parser().parse_args(given)
        assert (found.stream, found.messages) == ("s", ["--lines", "-x"])
        assert found.json
        assert not found.lines


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (("close", "s", "end"), ("--print-offset",)),
        (("close", "s", "end"), ("--timeout", "5")),
        (("fork", "s", "t"), ("--offset", "0000000000000001_0000000000000020")),
        (("delete", "s", "t"), ("--missing-ok",)),
        (("list", "a/"), ("--limit", "3")),
        (("bench", "http://127.0.0.1:1"), ("--seconds", "1")),
        (("read", "s"), ("--offset", "-1")),
        (("dump", "d"), ("--stream", "s")),
    ],
)
def test_the_other_commands_take_any_order_too(
    words: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    command, *others = words
    found = [vars(parser().parse_args([command, *order])) for order in orders(tuple(others), flags)]
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(
    "given",
    [
        ["write", "s", "--nonsense", "1"],
        ["write", "s", "1", "--nonsense=2"],
        ["close", "s", "a", "b"],
        ["serve", "--nonsense"],
        ["check", "d", "--nonsense"],
        ["completion", "bash", "zsh"],
    ],
    ids=" ".join,
)
def test_what_is_unknown_is_refused_with_the_usage_of_its_command(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(given)
    shown = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"usage: durable-streams {given[0]} " in shown
    assert "unrecognized arguments: " in shown


def test_it_arrives(run: Run, path: str) -> None:
    assert run("create", path, "--json").status == 0
    assert run("write", path, "--json", '{"id":1}').status == 0
    assert run("write", path, "--producer", "p", '{"id":2}', "--timeout", "5", "[3]").status == 0
    assert run("close", path, "--print-offset", "4").status == 0
    assert run("read", path).lines == ['{"id":1}', '{"id":2}', "[3]", "4"]
