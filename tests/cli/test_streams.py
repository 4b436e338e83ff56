"""What each command does to streams."""

import json
from pathlib import Path

import pytest

from durastream.testing import LocalServer

from .conftest import Run

VALUES = ['{"id": 1}', '{"big": 1e400, "same": [1, 2.50]}', "[1,2]", '"x\\u00fc"']


def test_a_stream_from_its_creation_to_its_end(
    run: Run, path: str, durable_streams_server: LocalServer
) -> None:
    made = run("create", path, "--json", "--ttl", "600")
    assert (made.status, made.lines) == (0, [durable_streams_server.stream_url(path)])
    again = run("create", path, "--json", "--ttl", "600", "--output", "json")
    assert json.loads(again.out)["created"] is False
    assert run("create", path).status == 4
    wrote = run("write", path, *VALUES, "--print-offset")
    assert wrote.status == 0
    head = json.loads(run("head", path, "--output", "json").out)
    assert head["offset"] == wrote.lines[0]
    assert (head["ttl"], head["closed"]) == (600, False)
    assert "time to live:  600 s" in run("head", path).lines
    # Not a number, a name or an escape is changed on the way.
    assert run("read", path).lines == VALUES
    fork = run("fork", path, f"{path}-fork", "--offset", wrote.lines[0])
    assert fork.lines == [durable_streams_server.stream_url(f"{path}-fork")]
    closed = run("close", f"{path}-fork", '{"end": true}', "--print-offset")
    assert run("read", f"{path}-fork", "--follow").lines == [*VALUES, '{"end": true}']
    assert closed.lines[0] > wrote.lines[0]
    assert run("close", f"{path}-fork").status == 0
    assert run("write", f"{path}-fork", "1").status == 4
    assert run("list", path).lines == [path, f"{path}-fork"]
    assert run("delete", path, f"{path}-fork").status == 0
    assert run("read", path).status == 3
    assert run("delete", path).status == 3
    assert run("delete", path, "--missing-ok").status == 0


def test_a_stream_may_be_a_url(run: Run, path: str, durable_streams_server: LocalServer) -> None:
    url = durable_streams_server.stream_url(f"{path} ü%41")
    elsewhere = {"DURABLE_STREAMS_URL": "http://127.0.0.1:1"}
    assert run("create", url, "--content-type", "text/plain", **elsewhere).status == 0
    origin = durable_streams_server.origin
    assert run("write", f"{path} ü%41", "hey", "--url", origin, **elsewhere).status == 0
    assert run("read", url, **elsewhere).out == b"hey"


def test_shapes_of_json(run: Run, path: str) -> None:
    run("create", path, "--json")
    run("write", path, '{"a":\n {"b": []}, "c": 1}', "[]")
    assert run("read", path, "--json", "lines").lines == ['{"a": {"b": []}, "c": 1}', "[]"]
    assert run("read", path, "--json", "pretty").out.decode() == (
        '{\n  "a": {\n    "b": []\n  },\n  "c": 1\n}\n[]\n'
    )
    (record,) = (json.loads(line) for line in run("read", path, "--output", "jsonl").lines)
    assert record["messages"] == [{"a": {"b": []}, "c": 1}, []]
    assert record["up_to_date"] is True
    assert json.loads(run("read", path, "--output", "raw").out) == record["messages"]


def test_shapes_of_text_and_bytes(run: Run, path: str) -> None:
    run("write", path, "Grüße\n", "--create", "--content-type", "text/plain")
    assert run("read", path).out == "Grüße\n".encode()
    assert json.loads(run("read", path, "--output", "jsonl").out)["text"] == "Grüße\n"
    refused = run("read", path, "--json", "lines")
    assert refused.status == 1
    assert "text/plain" in refused.err
    run("write", f"{path}b", "--create", stdin=b"\xff\0")
    assert run("read", f"{path}b").out == b"\xff\0"
    assert json.loads(run("read", f"{path}b", "--output", "jsonl").out)["base64"] == "/wA="


def test_reading_goes_on_where_it_was_ended(run: Run, path: str, tmp_path: Path) -> None:
    kept = tmp_path / "position"
    run("create", path, "--json")
    run("write", path, "1", "2")
    first = run("read", path, "--resume", kept, "--print-offset")
    assert first.lines == ["1", "2"]
    assert first.err == f"offset: {kept.read_text().strip()}\n"
    run("write", path, "3")
    assert run("read", path, "--resume", kept).lines == ["3"]
    assert run("read", path, "--resume", kept).lines == []
    assert run("read", path, "--offset", first.err.split()[1]).lines == ["3"]
    assert run("read", path, "--offset", "now").lines == []
    assert run("read", path, "--resume", kept, "--offset", "-1").status == 2


def test_where_reading_goes_on_is_looked_at_before_anything_is_printed(
    run: Run, path: str, tmp_path: Path
) -> None:
    run("create", path, "--json")
    run("write", path, "1")
    for file in (tmp_path / "nowhere" / "x", tmp_path):
        refused = run("read", path, "--resume", file)
        assert (refused.status, refused.out) == (2, b"")
        assert f"--resume {file}" in refused.err
    kept = tmp_path / "kept"
    for text in ("two words", "nonsense"):
        kept.write_text(text)
        refused = run("read", path, "--resume", kept)
        assert (refused.status, refused.out) == (2, b"")
        assert f"--resume {kept}" in refused.err
    kept.unlink()
    assert run("read", path, "--resume", kept).lines == ["1"]
    run("delete", path)
    run("create", path, "--json")
    run("write", path, "2")
    gone = run("read", path, "--resume", kept)
    assert (gone.status, gone.out) == (3, b"")
    assert f"--resume {kept}" in gone.err


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_following_ends_when_the_stream_is_closed(run: Run, path: str, live: str) -> None:
    run("create", path, "--json")
    run("write", path, "1")
    run("close", path, "2")
    assert run("read", path, "--live", live).lines == ["1", "2"]


def test_bench_says_what_the_server_bore_and_leaves_nothing(run: Run) -> None:
    figures = json.loads(
        run(
            "bench", "--seconds", "300ms", "--writers", "4", "--readers", "5", "--output", "json"
        ).out
    )
    assert [load["name"] for load in figures["loads"]] == ["appends", "reads", "fan-out"]
    for load in figures["loads"]:
        assert load["count"] > 0
        assert 0 < load["p50_ms"] <= load["p99_ms"] <= load["max_ms"]
        assert load["lost"] == 0
    assert run("list", "bench-").lines == []
    table = run("bench", "--seconds", "200ms", "--writers", "2", "--readers", "2")
    assert [line.split()[0] for line in table.lines[2:5]] == ["appends", "reads", "fan-out"]
