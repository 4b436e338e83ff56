"""Every setting of `durable-streams serve`: its flag, its `DURASTREAM_*` variable, its default, its check."""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from durastream._limits import LEAST_SEGMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PREFIX = "DURASTREAM_"
SAMPLED_EVERY = 100
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
ACCESS_LOGS = ("off", "sampled", "full")
LISTENERS = ("native", "hypercorn")
FRAME_BYTES = 128 << 20
"""The engine's default for `frame_bytes`."""
MAX_FRAME_BYTES = 1 << 30
"""The largest record the log's format allows."""
MAX_PORT = 65_535
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_UNITS |= {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TIMES = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "h": 3600.0}


class SettingError(ValueError):
    """A setting that cannot be used: its name, what was wrong, what would be right."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.name = name
        self.detail = detail


def _size(text: str, *, least: int = 1) -> int:
    found = re.fullmatch(r"(\d+)\s*([a-z]*)", text.strip().lower())
    if not found or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is not a size; give bytes, or a number with KiB, MiB or GiB")
    value = int(found[1]) * _UNITS[found[2]]
    if not least <= value < 1 << 63:
        raise ValueError(
            f"{text!r} is out of range; give at least {least} and less than 2^63 bytes"
        )
    return value


def _size_or_zero(text: str) -> int:
    return _size(text, least=0)


def _segment(text: str) -> int:
    return _size(text, least=LEAST_SEGMENT)


def _count(text: str, *, least: int = 1) -> int:
    if not re.fullmatch(r"\d{1,15}", text.strip()) or int(text) < least:
        raise ValueError(f"{text!r} is not a count; give a whole number of at least {least}")
    return int(text)


def _count_or_zero(text: str) -> int:
    return _count(text, least=0)


def _time(text: str, *, zero: bool = False) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)", text.strip().lower())
    value = float(found[1]) * _TIMES[found[2]] if found and found[2] in _TIMES else math.nan
    if math.isnan(value) or value > 10**9 or (value == 0 and not zero):
        raise ValueError(
            f"{text!r} is not a time; give seconds above 0, or a number with ms, s, m or h"
        )
    return value


def _time_or_zero(text: str) -> float:
    return _time(text, zero=True)


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text.strip()) or int(text) > MAX_PORT:
        raise ValueError(f"{text!r} is not a port; give 0 (any free one) to 65535")
    return int(text)


def _host(text: str) -> str:
    host = text.strip().removeprefix("[").removesuffix("]")
    if ":" in host:
        try:
            ipaddress.IPv6Address(host.partition("%")[0])
        except ValueError:
            raise ValueError(f"{text!r} is not a host; the port has a flag of its own") from None
    elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise ValueError(f"{text!r} is not a host; give an address or a name such as 127.0.0.1")
    return host


def _durability(text: str) -> str:
    if text in ("sync", "none") or re.fullmatch(r"interval=[1-9]\d{0,8}", text):
        return text
    raise ValueError(
        f"{text!r} is unknown; give sync, none or interval=MS (milliseconds, at least 1)"
    )


def _base_path(text: str) -> str:
    if not text.startswith("/") or re.search(r"[?#\s\x00-\x1f]", text):
        raise ValueError(
            f"{text!r} is not a base path; give one such as /v1/stream, or / for all paths"
        )
    return text


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s,]+", text):
        raise ValueError(f"{text!r} is not an origin; give one such as https://example.org, or *")
    return text


def _body_rate(text: str) -> int:
    rate = _count(text, least=0)
    if rate >= 1 << 32:
        raise ValueError(f"{text!r} is too many; give less than 2^32 bytes per second")
    return rate


def _is_address(text: str | None) -> bool:
    try:
        return text is None or bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


def _collector(text: str) -> str:
    known = re.fullmatch(
        r"http://(?:\[([^\]]*)\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?",
        text,
    )
    if known is None or not _is_address(known[1]) or int((known[2] or ":80")[1:]) > MAX_PORT:
        raise ValueError(
            f"{text!r} is not a collector; give one that takes OTLP over plain HTTP, "
            "such as http://127.0.0.1:4318"
        )
    return text.rstrip("/") + "/v1/traces"


def _standard_collector(environment: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The collector that OpenTelemetry's own variables name, and what is wrong with it.

    They may be meant for another program: what we do not speak is left out, never an error.
    """
    name, spoken = "OTEL_EXPORTER_OTLP_ENDPOINT", "http/protobuf"
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp"
    )
    if off or not environment.get(name):
        return None, None
    protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") or spoken
    if protocol != spoken:
        return (
            None,
            f"no traces: OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, only {spoken} is spoken",
        )
    try:
        return _collector(environment[name]), None
    except ValueError as error:
        return None, f"no traces: {name}: {error}"


def _ratio(text: str) -> float:
    if not re.fullmatch(r"\d*\.?\d+", text.strip()) or float(text) > 1:
        raise ValueError(f"{text!r} is not a ratio; give a number from 0 to 1")
    return float(text)


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is unknown; give one of {', '.join(choices)}")
        return text

    return parse


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError(f"{text!r} is not a file; give the path of a PEM file")
    return path


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `default` is text, parsed like any other; `None` means: left to the engine or off."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    metavar: str
    help: str
    group: str
    repeatable: bool = False

    @property
    def flag(self) -> str:
        """The command-line flag."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


def _table(group: str, *rows: tuple[Any, ...]) -> list[Setting]:
    return [Setting(row[0], row[1], row[2], row[3], row[4], group, len(row) > 5) for row in rows]


SERVER = "where"
PROTOCOL = "protocol"
CONNECTIONS = "connections"
ENGINE = "log"
LOGGING = "messages"

SETTINGS: tuple[Setting, ...] = (
    *_table(
        SERVER,
        ("data", str, "./data", "DIR", "data directory, made when missing"),
        ("host", _host, "127.0.0.1", "HOST", "address to listen on"),
        ("port", _port, "4437", "PORT", "port to listen on; 0 takes a free one and prints it"),
        ("listener", _one_of(LISTENERS), "native", "NAME",
         "native, in Rust, or hypercorn, in Python"),
        ("unix", Path, None, "PATH", "Unix socket to listen on as well, without TLS; native only"),
        ("tls_cert", _file, None, "FILE", "PEM certificate chain; serves https, with ALPN"),
        ("tls_key", _file, None, "FILE", "PEM private key of the certificate"),
    ),
    *_table(
        PROTOCOL,
        ("base_path", _base_path, "/v1/stream,/v1/streams", "PATH",
         "where streams live; repeatable; / takes every path that is left", True),
        ("listing", _one_of(("on", "off")), "off", "on|off",
         "tell everybody the paths of all streams at /__durastream/streams"),
        ("long_poll_timeout", _time, "30", "TIME", "how long a long-poll waits for data"),
        ("sse_max", _time, "60", "TIME", "after how long an SSE response ends"),
        ("sse_heartbeat", _time, "15", "TIME", "silence after which SSE sends a comment"),
        ("page_bytes", _size, "4MiB", "SIZE", "largest page of a read"),
        ("sending_bytes", _size_or_zero, "256MiB", "SIZE",
         "pages read from disk on their way at once; beyond it pages have 64 KiB"),
        ("cors_origin", _origin, "*", "ORIGIN", "origin that browsers may use; repeatable", True),
        ("hold_time", _time_or_zero, "20ms", "TIME",
         "how long an early producer sequence waits for its predecessor; 0: not at all"),
        ("hold_count", _count_or_zero, "1024", "N", "most appends held at once"),
        ("hold_bytes", _size_or_zero, "64MiB", "SIZE", "most body bytes held at once"),
    ),
    *_table(
        CONNECTIONS,
        ("max_body", _size, "64MiB", "SIZE", "largest request body"),
        ("max_upload", _size, "1GiB", "SIZE", "request bodies being received at once, all together"),
        ("max_connections", _count, "10000", "N", "connections open at once"),
        ("loops", _count, None, "N", "threads that serve connections, native only; default one a core"),
        ("max_header", _size, "64KiB", "SIZE", "largest request head"),
        ("max_requests_per_connection", _count, "100", "N",
         "HTTP/2 requests in flight on one connection"),
        ("keep_alive", _time, "75", "TIME", "how long an idle connection stays open"),
        ("stall_timeout", _time, "30", "TIME",
         "how long a client may send nothing of a body, or read nothing of an answer"),
        ("min_body_rate", _body_rate, "500", "BYTES",
         "bytes per second in which a body must come after the stall timeout; 0: any"),
        ("shutdown_grace", _time, "6", "TIME", "how long a shutdown waits for requests in flight"),
    ),
    *_table(
        ENGINE,
        ("durability", _durability, "sync", "WHEN",
         "what an acknowledgement means: sync (on disk), interval=MS, none"),
        ("segment_bytes", _segment, None, "SIZE", "size of a log segment; default 64MiB"),
        ("hot_bytes", _size_or_zero, None, "SIZE", "payload kept in memory for readers; default 64MiB"),
        ("pending_bytes", _size, None, "SIZE",
         "appends not committed yet; default 256MiB, or twice --frame-bytes"),
        ("frame_bytes", _size, None, "SIZE",
         "largest record of the log; default 128MiB, or twice --max-body"),
        ("seal_backlog", _count, None, "N",
         "full segments that wait to be sealed before commits are slowed down; default 8"),
        ("compaction_bytes_per_second", _size, None, "SIZE",
         "what compaction writes in a second at most; default 128MiB"),
        ("checkpoint_bytes", _size, None, "SIZE", "log written between two checkpoints; default 256MiB"),
        ("reap_interval", _time, None, "TIME", "how often expired streams are looked for; default 1s"),
        ("max_json_depth", _count, None, "N", "deepest nesting of a JSON message; default 128"),
        ("max_producers_per_stream", _count, None, "N", "producers one stream remembers; default 10000"),
        ("max_streams", _count, None, "N", "streams; default 10000000"),
        ("max_fork_depth", _count, None, "N", "forks of forks in a chain; default 64"),
        ("max_producer_id_bytes", _size, None, "SIZE", "longest Producer-Id; default 1024"),
        ("max_stream_seq_bytes", _size, None, "SIZE", "longest Stream-Seq; default 1024"),
        ("max_content_type_bytes", _size, None, "SIZE", "longest Content-Type; default 256"),
    ),
    *_table(
        LOGGING,
        ("log_level", _one_of(LOG_LEVELS), "info", "LEVEL", f"least to log: {', '.join(LOG_LEVELS)}"),
        ("access_log", _one_of(ACCESS_LOGS), "off", "WHICH",
         "requests to log: off, sampled (one in 100), full"),
        ("log_format", _one_of(LOG_FORMATS), "text", "FORMAT", "text or json, one line each, on stderr"),
        ("otlp_endpoint", _collector, None, "URL",
         "OpenTelemetry collector that gets spans, by OTLP over HTTP"),
        ("trace_ratio", _ratio, "0.01", "RATIO",
         "of the requests without a traceparent, how many become spans: 0 to 1"),
    ),
)  # fmt: skip

ENGINE_LIMITS = tuple(s.name for s in SETTINGS if s.group == ENGINE and s.name != "durability")


class Settings:
    """The settings of one run, as attributes named in `SETTINGS`."""

    def __init__(self, flags: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        """Flags go before the environment, and that before the defaults. Raises SettingError."""
        self._values: dict[str, Any] = {}
        for setting in SETTINGS:
            self._values[setting.name] = _value(setting, flags.get(setting.name), environment)
        self.warning: str | None = None
        """What is left out, to be logged."""
        if self.otlp_endpoint is None:
            self._values["otlp_endpoint"], self.warning = _standard_collector(environment)
        self._check_together()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (of the type that its parser makes)
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def engine_limits(self) -> dict[str, Any]:
        """Keyword arguments of `LogEngine`."""
        values = {name: self._values[name] for name in ENGINE_LIMITS}
        limits = {name: value for name, value in values.items() if value is not None}
        limits["max_append_bytes"] = self.max_body
        # A body larger than usual needs larger records, and room to wait for its commit.
        limits.setdefault("frame_bytes", min(max(2 * self.max_body, FRAME_BYTES), MAX_FRAME_BYTES))
        limits.setdefault("pending_bytes", 2 * limits["frame_bytes"])
        return limits

    @property
    def access_every(self) -> int:
        """One in so many requests is logged; 0: none."""
        return {"off": 0, "sampled": SAMPLED_EVERY, "full": 1}[self.access_log]

    def _check_together(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            given, lacks = (
                ("--tls-cert", "--tls-key") if self.tls_cert else ("--tls-key", "--tls-cert")
            )
            raise SettingError(
                given, f"needs {lacks} as well; give both, or neither for plain http"
            )
        for flag, given in (("--unix", self.unix), ("--loops", self.loops)):
            if self.listener != "native" and given is not None:
                raise SettingError(
                    flag, "only the native listener has it; give --listener native, or leave it out"
                )
        if self.max_body > MAX_FRAME_BYTES:
            raise SettingError("--max-body", f"{self.max_body} is too large; give at most 1GiB")
        if self.frame_bytes is not None and self.frame_bytes < self.max_body:
            raise SettingError(
                "--frame-bytes",
                f"{self.frame_bytes} bytes cannot hold a body of --max-body {self.max_body}; "
                "give at least as much",
            )


def _value(setting: Setting, given: str | list[str] | None, environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    name = setting.flag
    if given is None:
        found = environment.get(setting.variable)
        if found is None:
            found = setting.default
        else:
            name = setting.variable
        if found is None:
            return None
        given = [part.strip() for part in found.split(",")] if setting.repeatable else found
    try:
        if isinstance(given, list):
            return [setting.parse(part) for part in given]
        return setting.parse(given)
    except ValueError as error:
        raise SettingError(name, str(error)) from None
