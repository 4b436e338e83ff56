"""`durable-streams completion`: scripts that complete commands and flags in a shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from durastream.commands.report import out

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "completion"
HELP: Final = "print a completion script for bash, zsh or fish"
PROGRAM: Final = "durable-streams"
EXAMPLES: Final = """examples:
  source <(durable-streams completion bash)                  # in ~/.bashrc
  source <(durable-streams completion zsh)                   # in ~/.zshrc, behind compinit
  durable-streams completion fish > ~/.config/fish/completions/durable-streams.fish
"""
FILES: Final = ("FILE", "DIR")
"""Metavars of arguments that are completed as files."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        NAME,
        help=HELP,
        description="Print a script that completes commands, flags and their choices.",
        epilog=EXAMPLES,
    )
    parser.add_argument("shell", choices=sorted(SHELLS))


def run(given: argparse.Namespace, top: argparse.ArgumentParser) -> int:
    """Print the script; the exit status."""
    out(SHELLS[given.shell](top).rstrip("\n"))
    return 0


def _commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Commands with their arguments."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError


def _helps(top: argparse.ArgumentParser) -> dict[str, str]:
    """Commands with what they are for."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            return {each.dest: str(each.help) for each in action._choices_actions}
    raise AssertionError


def _flags(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    return (action for action in parser._actions if action.option_strings)


def _values(action: argparse.Action) -> list[str]:
    return [str(choice) for choice in action.choices or ()]


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _positional_words(parser: argparse.ArgumentParser) -> list[str]:
    """What may stand where no flag does."""
    return [
        value
        for action in parser._actions
        if not action.option_strings
        for value in _values(action)
    ]


def _bash(top: argparse.ArgumentParser) -> str:
    commands = _commands(top)
    lines = [
        f"# bash completion of {PROGRAM}",
        "_durable_streams() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        '  local command="${COMP_WORDS[1]}" words=""',
        "  COMPREPLY=()",
        "  if [ $COMP_CWORD -eq 1 ]; then",
        f'    COMPREPLY=($(compgen -W "{" ".join(commands)} --help --version" -- "$word"))',
        "    return",
        "  fi",
        '  case "$command $before" in',
    ]
    for name, parser in commands.items():
        for action in _flags(parser):
            patterns = " | ".join(f'"{name} {flag}"' for flag in action.option_strings)
            if values := _values(action):
                reply = f'$(compgen -W "{" ".join(values)}" -- "$word")'
            elif action.metavar in FILES:
                reply = '$(compgen -f -- "$word")'
            elif _takes_value(action):
                reply = ""
            else:
                continue
            lines.append(f"    {patterns}) COMPREPLY=({reply}); return ;;")
    lines += ["  esac", '  case "$command" in']
    for name, parser in commands.items():
        flags = [flag for action in _flags(parser) for flag in action.option_strings]
        words = [*flags, *_positional_words(parser)]
        lines.append(f'    {name}) words="{" ".join(words)}" ;;')
    return "\n".join(
        [
            *lines,
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            # What is no flag may be a file; bash offers them when nothing else fits.
            f"complete -o default -F _durable_streams {PROGRAM}",
        ]
    )


def _quoted(text: str) -> str:
    """Text as zsh's `_arguments` and `_describe` take it within single quotes."""
    plain = text.replace("%%", "%").replace("\\", "").replace("'", "")
    for mark in ":[]":
        plain = plain.replace(mark, "\\" + mark)
    return plain


def _zsh(top: argparse.ArgumentParser) -> str:
    lines = [f"#compdef {PROGRAM}", "_durable_streams() {", "  local -a commands", "  commands=("]
    lines += [f"    '{name}:{_quoted(help_)}'" for name, help_ in _helps(top).items()]
    lines += [
        "  )",
        "  if (( CURRENT == 2 )); then",
        "    _describe command commands",
        "    return",
        "  fi",
        "  local command=${words[2]}",
        "  shift words",
        "  (( CURRENT-- ))",
        "  case $command in",
    ]
    for name, parser in _commands(top).items():
        lines.append(f"    {name}) _arguments \\")
        for action in _flags(parser):
            for flag in action.option_strings:
                lines.append(f"      '{_zsh_flag(flag, action)}' \\")
        rest = _positional_words(parser)
        fill = f"*: :({' '.join(rest)})" if rest else "*:argument:_files"
        lines.append(f"      '{fill}' ;;")
    return "\n".join([*lines, "  esac", "}", f"compdef _durable_streams {PROGRAM}"])


def _zsh_flag(flag: str, action: argparse.Action) -> str:
    many = "*" if isinstance(action, argparse._AppendAction) else ""
    text = f"{many}{flag}[{_quoted(action.help or '')}]"
    if values := _values(action):
        return f"{text}:value:({' '.join(values)})"
    if action.metavar in FILES:
        return f"{text}:file:_files"
    return f"{text}:{_quoted(str(action.metavar or 'value'))}: " if _takes_value(action) else text


def _fish(top: argparse.ArgumentParser) -> str:
    begin = f"complete -c {PROGRAM}"
    lines = [f"# fish completion of {PROGRAM}", f"{begin} -n __fish_use_subcommand -f"]
    for name, help_ in _helps(top).items():
        lines.append(f"{begin} -n __fish_use_subcommand -f -a {name} -d {_fish_text(help_)}")
    for name, parser in _commands(top).items():
        where = f"{begin} -n '__fish_seen_subcommand_from {name}'"
        for action in _flags(parser):
            names = " ".join(
                f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
                for flag in action.option_strings
            )
            value = ""
            if values := _values(action):
                value = f" -x -a '{' '.join(values)}'"
            elif action.metavar in FILES:
                value = " -r -F"
            elif _takes_value(action):
                value = " -x"
            lines.append(f"{where} {names}{value} -d {_fish_text(action.help or '')}")
        if rest := _positional_words(parser):
            lines.append(f"{where} -f -a '{' '.join(rest)}'")
    return "\n".join(lines)


def _fish_text(text: str) -> str:
    plain = text.replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'")
    return f"'{plain}'"


SHELLS: Final = {"bash": _bash, "zsh": _zsh, "fish": _fish}
