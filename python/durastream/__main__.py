"""The program `durable-streams`, also as `python -m durastream`."""

# `signal` without its enumerations: to import those takes long enough for a Ctrl-C.
import _signal  # type: ignore[import-not-found]
import sys


def main() -> int:
    """Run the command; its exit status. Ctrl-C ends it without a traceback, while it loads, too."""
    usual = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if usual:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from durastream import cli  # noqa: PLC0415  (what takes long, under that rule)

    try:
        if usual:
            # What serves has its own ways, and takes this for the sign that nobody else has.
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        return cli.main()
    except KeyboardInterrupt:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        _signal.raise_signal(_signal.SIGINT)
        return 128 + int(_signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main())
