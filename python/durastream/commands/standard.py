"""Standard input, output and error where the shell has closed them (`>&-`)."""

from __future__ import annotations

import fcntl
import os
import sys


def fill_in() -> None:
    """Put something in place of each of the three that is closed: it refuses what it was for.

    Otherwise the next file or connection that is opened would be taken for it.
    """
    # Input cannot be read, output cannot be written; what nobody can be told goes nowhere.
    for fd, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)  # the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def readable(fd: int) -> bool:
    """Whether a descriptor can be read from."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY


def forget_output() -> None:
    """Drop what could not be written to standard output: the interpreter's end would try again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
