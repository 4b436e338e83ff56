"""The program `durable-streams`, also as `python -m durastream`."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command; its exit status. Ctrl-C ends it without a traceback, while it loads, too."""
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from durastream import cli  # noqa: PLC0415  (what takes long, under that rule)

    try:
        if usual:
            # What serves has its own ways, and takes this for the sign that nobody else has.
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return cli.main()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
