"""`write`: how input becomes messages, and that each arrives once."""

import json
import signal
import time
from pathlib import Path

import pytest

from durastream.testing import LocalServer

from .conftest import Run, Start


def test_ways_to_cut_json(run: Run, path: str) -> None:
    run("create", path, "--json")
    assert run("write", path, "--lines", stdin=b'{"a":1}\n\n [2] \n"x"').status == 0
    assert run("write", path, "--batch-json", stdin=b'[{"b":1}, [2]]\n').status == 0
    assert run("write", path, "--json", stdin=b"[3, 4]\n").status == 0
    assert run("write", path, stdin=b"[5]").status == 0
    assert run("read", path).lines == [
        '{"a":1}', "[2]", '"x"', '{"b":1}', "[2]", "[3, 4]", "[5]",
    ]  # fmt: skip


def test_lines_and_bytes_come_back_as_they_were(run: Run, path: str, tmp_path: Path) -> None:
    content = b"one\r\n\n" + b"\xff" * 700_000 + b"\rlast" + b"\n" + b"without end"
    file = tmp_path / "content"
    file.write_bytes(content)
    for number, cut in enumerate(["--lines", "--close"]):
        name = f"{path}-{number}"
        assert run("write", name, "--create", cut, "--file", file).status == 0
        assert run("read", name).out == content


def test_what_is_not_json_is_told_by_place_and_what_was_written(run: Run, path: str) -> None:
    run("create", path, "--json")
    broken = run("write", path, "--lines", stdin=b'{"a":1}\n\n{bad\n{"c":1}\n')
    assert broken.status == 2
    assert "line 3 is not JSON" in broken.err
    assert "written before this: 1 message" in broken.err
    assert run("read", path).lines == ['{"a":1}']
    for arguments, text in (
        (["--json"], b"{} {}"),
        (["--batch-json"], b'{"no": "array"}'),
        (["--batch-json"], b"[1,"),
        (["--json"], b"\xff"),
    ):
        assert run("write", path, *arguments, stdin=text).status == 2
    assert run("write", path, "{}", "nonsense").status == 2
    assert run("read", path).lines == ['{"a":1}'], "of several arguments none unless all are good"


@pytest.mark.parametrize("cut", ["--json", "--lines", "--batch-json"])
def test_what_no_server_takes_for_json_is_wrong_usage(run: Run, path: str, cut: str) -> None:
    run("create", path, "--json")
    opening, closing = ("[", "]") if cut == "--batch-json" else ("", "")
    for text, said in (("NaN", "NaN is no JSON value"), ("[" * 100_000, "nested too deeply")):
        found = run("write", path, cut, stdin=f"{opening}{text}{closing}".encode())
        assert found.status == 2
        assert said in found.err
        assert "Traceback" not in found.err


def test_options_that_can_mean_nothing_are_wrong_usage(run: Run, path: str) -> None:
    for wrong in (("--timeout", "0"), ("--auth", "")):
        found = run("write", path, "1", *wrong)
        assert found.status == 2
        assert wrong[0] in found.err


def test_what_is_there_will_do_when_nothing_is_said_of_it(run: Run, path: str) -> None:
    assert run("create", path, "--json", "--ttl", "600").status == 0
    assert run("write", path, "1", "--create").status == 0
    assert run("write", path, "2", "--create", "--producer", "p").status == 0
    for other in (["--content-type", "text/plain"], ["--ttl", "5"], ["--json", "--ttl", "5"]):
        assert run("write", path, "3", "--create", *other).status == 4, other
    assert run("read", path).lines == ["1", "2"]
    assert run("close", path).status == 0
    closed = run("write", path, "3", "--create")
    assert closed.status == 4
    assert "closed" in closed.err


def test_conditions_of_a_single_message(run: Run, path: str) -> None:
    run("create", path, "--json")
    first = run("write", path, "1", "--seq", "a", "--print-offset").lines[0]
    assert run("write", path, "2", "--seq", "a").status == 4
    assert run("write", path, "2", "--if-match", first).status == 0
    assert run("write", path, "3", "--if-match", first).status == 4
    assert run("write", path, "3", "4", "--seq", "b").status == 2
    assert run("read", path).lines == ["1", "2"]


def test_a_producer_can_be_run_again_with_the_same_input(run: Run, path: str) -> None:
    run("create", path, "--json")
    numbers = [str(number) for number in range(500)]
    arguments = ("write", path, "--lines", "--producer", "p", "--batch", "7")
    for count in (100, 500, 500):
        # 100 is no multiple of 7: the batches before are what must be the same.
        text = "\n".join(numbers[: count // 7 * 7 if count < 500 else count]).encode()
        assert run(*arguments, stdin=text).status == 0
    assert run("read", path).lines == numbers
    assert run("write", path, '"new"', "--producer", "p", "--epoch", "1").status == 0
    fenced = run(*arguments, stdin=b"1\n")
    assert fenced.status == 4
    assert run("read", path).lines == [*numbers, '"new"']


@pytest.mark.parametrize(
    "counts", [(3, 4, 4, 9), (1, 2, 3, 4, 5, 6, 7), (6, 7, 6, 12), (5, 11, 20)]
)
def test_a_producers_input_may_grow_whatever_its_batches(
    run: Run, path: str, counts: tuple[int, ...]
) -> None:
    run("create", path, "--json")
    for count in counts:
        text = "".join(f"{n}\n" for n in range(count)).encode()
        assert (
            run("write", path, "--lines", "--producer", "p", "--batch", "3", stdin=text).status == 0
        )
    assert run("read", path).lines == [str(n) for n in range(max(counts))]


def test_a_producers_input_may_be_shorter_the_next_time(run: Run, path: str) -> None:
    run("create", path, "--json")
    for count in (6, 5, 4, 7, 5, 8, 7):
        text = "".join(f"{n}\n" for n in range(count)).encode()
        assert (
            run("write", path, "--lines", "--producer", "p", "--batch", "3", stdin=text).status == 0
        )
    assert run("read", path).lines == [str(n) for n in range(8)]


def test_bytes_that_have_grown_are_refused_and_not_left_out(run: Run, path: str) -> None:
    run("create", path)
    command = ("write", path, "--producer", "p")
    content = bytes(range(256)) * 3000  # two pieces and most of a third
    for _ in range(2):
        assert run(*command, stdin=content).status == 0
    for other in (content + b"more", content + bytes(1 << 20), content[:-1]):
        refused = run(*command, stdin=other)
        assert refused.status == 2
        assert f"an input of {len(content)} bytes" in refused.err
    assert run(*command, stdin=content[: 300 << 10]).status == 0
    assert run(*command, "--close", stdin=content).status == 0
    assert run(*command, "--close", stdin=content).status == 0
    assert run(*command, "--close", stdin=content + b"more").status == 4
    assert run("read", path).out == content


def test_bytes_may_grow_behind_whole_pieces(run: Run, path: str) -> None:
    run("create", path)
    for size in (256 << 10, 512 << 10, (512 << 10) + 7):
        assert run("write", path, "--producer", "p", stdin=bytes(size)).status == 0
    assert run("read", path).out == bytes((512 << 10) + 7)


def test_a_close_of_less_input_is_not_taken_for_that_of_more(run: Run, path: str) -> None:
    run("create", path, "--json")
    command = ("write", path, "--lines", "--producer", "p", "--batch", "2", "--close")
    assert run(*command, stdin=b"1\n2\n3\n").status == 0
    assert run(*command, stdin=b"1\n2\n3\n").status == 0
    for more in (b"4\n", b"4\n5\n"):
        assert run(*command, stdin=b"1\n2\n3\n" + more).status == 4
    assert run("read", path).lines == ["1", "2", "3"]


@pytest.mark.parametrize("batch", ["1", "3", "5"])
def test_what_closed_the_stream_can_be_run_again(run: Run, path: str, batch: str) -> None:
    created = ("--create", "--content-type", "application/json")
    command = ["write", path, *created, "--lines", "--producer", "p", "--batch", batch, "--close"]
    for _ in range(3):
        ended = run(*command, "--print-offset", stdin=b"1\n2\n3\n4\n5\n")
        assert (ended.status, ended.err) == (0, "")
        assert ended.lines == [json.loads(run("head", path, "--output", "json").out)["offset"]]
    assert run("read", path).lines == ["1", "2", "3", "4", "5"]


def test_what_somebody_else_closed_is_told(run: Run, path: str) -> None:
    run("create", path, "--json")
    assert run("write", path, "1", "2", "--producer", "p").status == 0
    assert run("close", path).status == 0
    ended = run("write", path, "1", "2", "3", "--producer", "p", "--close")
    assert ended.status == 4
    assert "closed" in ended.err
    assert run("read", path).lines == ["1", "2"]


def test_a_producer_bears_a_server_that_is_killed(
    start: Start, run: Run, path: str, durable_streams_server: LocalServer
) -> None:
    run("create", path, "--json")
    numbers = [str(number) for number in range(3000)]
    with start("write", path, "--lines", "--producer", "p") as writing:
        assert writing.stdin is not None
        for begin in range(0, 3000, 1000):
            writing.stdin.write("".join(f"{n}\n" for n in numbers[begin : begin + 1000]).encode())
            writing.stdin.flush()
            time.sleep(0.3)
            if begin == 1000:
                durable_streams_server.restart(kill=True)
        _, err = writing.communicate(timeout=60)
    assert (writing.returncode, err) == (0, b"")
    assert run("read", path).lines == numbers


def test_ctrl_c_says_how_to_go_on(start: Start, run: Run, path: str) -> None:
    run("create", path, "--json")
    with start("write", path, "--lines", "--producer", "p") as writing:
        assert writing.stdin is not None
        writing.stdin.write(b"1\n2\n")
        writing.stdin.flush()
        deadline = time.monotonic() + 20
        while run("read", path).lines != ["1", "2"]:
            assert time.monotonic() < deadline
        writing.send_signal(signal.SIGINT)
        _, err = writing.communicate(timeout=20)
    assert writing.returncode == -signal.SIGINT
    assert b"2 messages of the input arrived for certain" in err
    assert b"--producer p --epoch 0" in err
    assert run("write", path, "--lines", "--producer", "p", stdin=b"1\n2\n3\n").status == 0
    assert run("read", path).lines == ["1", "2", "3"]
    assert json.loads(run("head", path, "--output", "json").out)["closed"] is False
