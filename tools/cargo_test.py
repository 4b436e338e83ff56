"""Run `cargo test` with the arguments given; fail also when no test ran, and add up the totals."""

import re
import subprocess
import sys

RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")


def main(arguments: list[str]) -> int:
    """Stream cargo's output and return the exit status."""
    totals = [0, 0, 0]
    command = ["cargo", "test", "--no-fail-fast", *arguments]
    # One stream, so that a result stands beneath the name of what was run.
    out, err = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=out, stderr=err, text=True) as cargo:
        assert cargo.stdout is not None
        for line in cargo.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if found := RESULT.match(line):
                totals = [total + int(n) for total, n in zip(totals, found.groups(), strict=True)]
    passed, failed, ignored = totals
    print(f"rust: {passed} passed, {failed} failed, {ignored} skipped", flush=True)
    if cargo.returncode == 0 and passed == 0:
        print("no Rust test ran", file=sys.stderr)
        return 1
    return cargo.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
