"""Flags and `DURASTREAM_*` variables of `serve`: where values come from and what is said of bad ones."""

import os
import re
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from conftest import ServerFactory
from durastream.cli import main, parser
from durastream.settings import SETTINGS, SettingError, Settings
from support.server import COMMAND, Server

BAD = {
    "port": ["99999", "-1", "http", "", "4437.5"],
    "host": ["http://x", "127.0.0.1:80", "a b", "", "::zz"],
    "base_path": ["v1/stream", "/a?b", "/a b", "", "/a#b"],
    "durability": ["fsync", "interval", "interval=0", "interval=1.5", "interval=-5", "SYNC", ""],
    "long_poll_timeout": ["0", "-1", "soon", "1d", "inf", "nan", "1e3", ""],
    "hold_time": ["-1", "x"],
    "max_body": ["0", "-1", "64 QiB", "1.5MiB", "9999999999999999999", ""],
    "hold_bytes": ["-1"],
    "max_connections": ["0", "many", "1.5", ""],
    "loops": ["0", "all"],
    "cors_origin": ["example.org", "https://example.org/path", ""],
    "log_level": ["loud", "INFO"],
    "log_format": ["xml"],
    "tls_cert": ["/does/not/exist"],
    "listener": ["uvicorn", ""],
}
CASES = [(name, text) for name, texts in BAD.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_a_bad_value_is_named_with_its_source_and_its_cure(name: str, text: str) -> None:
    flag = "--" + name.replace("_", "-")
    with pytest.raises(SettingError) as by_flag:
        Settings({name: text}, {})
    variable = "DURASTREAM_" + name.upper()
    with pytest.raises(SettingError) as by_variable:
        Settings({}, {variable: text})
    for found, source in ((by_flag, flag), (by_variable, variable)):
        message = str(found.value)
        assert message.startswith(f"{source}: ")
        assert repr(text) in message
        assert "give " in message or "flag of its own" in message


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("2KiB", 2048), ("3 mib", 3 << 20), ("1GiB", 1 << 30), ("5k", 5120), ("7B", 7)],
)
def test_sizes_are_read(text: str, value: int) -> None:
    assert Settings({"max_body": text}, {}).max_body == value


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("0.5", 0.5), ("250ms", 0.25), ("2 m", 120), ("1h", 3600)]
)
def test_times_are_read(text: str, value: float) -> None:
    assert Settings({"keep_alive": text}, {}).keep_alive == value


def test_a_flag_goes_before_its_variable_and_that_before_the_default() -> None:
    environment = {"DURASTREAM_PORT": "2"}
    assert Settings({"port": "1"}, environment).port == 1
    assert Settings({}, environment).port == 2
    assert Settings({}, {}).port == 4437


def test_repeated_flags_and_lists_in_variables_are_the_same() -> None:
    flags = Settings({"base_path": ["/a", "/b"]}, {})
    variable = Settings({}, {"DURASTREAM_BASE_PATH": "/a, /b"})
    assert flags.base_path == variable.base_path == ["/a", "/b"]


def test_every_setting_is_a_flag_and_says_its_variable() -> None:
    shown = re.sub(r"\s+", " ", parser_help())
    for setting in SETTINGS:
        assert setting.flag in shown
        assert f"[{setting.variable}]" in shown


def parser_help() -> str:
    result = subprocess.run(
        [COMMAND, "serve", "--help"], capture_output=True, text=True, check=True
    )
    return result.stdout


def test_one_of_certificate_and_key_is_not_enough(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("x")
    with pytest.raises(SettingError, match="--tls-cert: needs --tls-key"):
        Settings({"tls_cert": str(file)}, {})


def test_a_body_must_fit_a_frame() -> None:
    with pytest.raises(SettingError, match=r"--frame-bytes: 1000 bytes .* --max-body 2000"):
        Settings({"max_body": "2000", "frame_bytes": "1000"}, {})


def test_a_larger_body_brings_the_room_it_needs() -> None:
    limits = Settings({"max_body": "300MiB"}, {}).engine_limits()
    assert limits["frame_bytes"] >= 300 << 20
    assert limits["pending_bytes"] >= limits["frame_bytes"]
    with pytest.raises(SettingError, match=r"--max-body: .* give at most 1GiB"):
        Settings({"max_body": "2GiB"}, {})


def test_an_unknown_flag_is_refused_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--ports", "1"])
    assert ended.value.code == 2
    assert "--ports" in capsys.readouterr().err
    assert parser().prog == "durable-streams"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | environment,
    )


def test_a_bad_value_ends_the_command_with_status_2(tmp_path: Path) -> None:
    result = run("--data", str(tmp_path / "d"), "--max-body", "huge")
    assert result.returncode == 2
    assert result.stderr.startswith("durable-streams: --max-body: 'huge' is not a size; give ")
    assert run(DURASTREAM_PORT="x").returncode == 2
    assert not (tmp_path / "d").exists()


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--data", str(tmp_path / "d"), "--port", str(port))
    assert result.returncode == 1
    assert f"--port {port}: Address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_directory_in_use_names_its_holder(server: Server) -> None:
    result = run("--data", str(server.data), "--port", "0")
    assert result.returncode == 1
    assert str(server.process.pid) in result.stderr
    assert str(server.data) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_data_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a directory")
    result = run("--data", str(file), "--port", "0")
    assert result.returncode == 1
    assert str(file) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("x")
    result = run("--data", str(tmp_path / "d"), "--tls-cert", str(file), "--tls-key", str(file))
    assert result.returncode == 1
    assert result.stderr.startswith(f"durable-streams: --tls-cert {file}")
    assert "Traceback" not in result.stderr


def test_the_first_line_says_where_what_and_how(server_factory: ServerFactory) -> None:
    server = server_factory("--durability", "interval=5", "--base-path", "/db")
    assert re.fullmatch(
        rf"durable-streams \S+ serving http://127\.0\.0\.1:\d+/db data={re.escape(str(server.data))} "
        r"durability=interval=5\n",
        server.banner,
    )
    assert httpx.put(f"{server.url}/db/x").status_code == 201


def test_the_root_takes_every_path_but_the_probes(server_factory: ServerFactory) -> None:
    server = server_factory("--base-path", "/")
    assert httpx.put(f"{server.url}/any/where").status_code == 201
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/ready").json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/%68ealth").json() == {"status": "ok"}


def test_limits_reach_the_engine_and_the_protocol(server_factory: ServerFactory) -> None:
    server = server_factory(
        *(
            "--max-json-depth",
            "3",
            "--long-poll-timeout",
            "100ms",
            "--cors-origin",
            "https://a.test",
        ),
        *("--max-streams", "2"),
    )
    url = f"{server.url}/v1/stream"
    headers = {"content-type": "application/json"}
    httpx.put(f"{url}/j", headers=headers).raise_for_status()
    assert httpx.post(f"{url}/j", headers=headers, content=b"[[[[[1]]]]]").status_code == 400
    live = {"offset": "now", "live": "long-poll"}
    answer = httpx.get(f"{url}/j", params=live, headers={"origin": "https://a.test"}, timeout=3)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://a.test"
    httpx.put(f"{url}/k").raise_for_status()
    assert httpx.put(f"{url}/one-too-many").status_code >= 400


def test_logs_are_json_when_asked(server_factory: ServerFactory) -> None:
    server = server_factory("--log-format", "json")
    server.stop()
    assert re.search(r'^\{"time": "[^"]+", "level": "info", .*SIGTERM', server.log, re.MULTILINE)


def test_an_ipv6_host_is_served(server_factory: ServerFactory) -> None:
    server = server_factory("--host", "::1")
    assert server.banner.split()[3].startswith("http://[::1]:")
    assert httpx.get(f"http://[::1]:{server.port}/health").status_code == 200


def test_a_collector_that_others_named_is_used_or_left_out_with_a_word() -> None:
    name = "OTEL_EXPORTER_OTLP_ENDPOINT"
    for others, endpoint, warning in [
        ({name: "http://c:4318/"}, "http://c:4318/v1/traces", None),
        ({name: ""}, None, None),
        ({name: "https://c:4318"}, None, "https://c:4318"),
        ({name: "c:4317"}, None, "c:4317"),
        ({name: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None, "grpc"),
        ({name: "http://c:4318", "OTEL_SDK_DISABLED": "TRUE"}, None, None),
        ({name: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, None, None),
        ({name: "c", "DURASTREAM_OTLP_ENDPOINT": "http://d"}, "http://d/v1/traces", None),
    ]:
        settings = Settings({}, others)
        assert settings.otlp_endpoint == endpoint, others
        assert (settings.warning is None) == (warning is None), others
        assert (warning or "") in (settings.warning or "")
    for sound in ["http://c.d-e:1/a/b", "http://[::1]:4318", "http://[::1]"]:
        assert Settings({}, {name: sound}).otlp_endpoint == f"{sound}/v1/traces"
    for bad in [
        "{host}:4318",
        "[",
        "[::::]",
        "hö:1",
        "h:x",
        "h:99999",
        "a b",
        "u@h",
        "h/{x}",
        "h?x",
    ]:
        settings = Settings({}, {name: f"http://{bad}"})
        assert settings.otlp_endpoint is None
        assert f"'http://{bad}' is not a collector" in (settings.warning or "")
    with pytest.raises(SettingError, match="DURASTREAM_OTLP_ENDPOINT: 'c:4317'"):
        Settings({}, {"DURASTREAM_OTLP_ENDPOINT": "c:4317"})
