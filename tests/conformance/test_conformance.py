"""The official server suite, all of it, against `durable-streams serve` as users start it, over both versions of HTTP."""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.server import Server

HERE = Path(__file__).parent
SUITE_SECONDS = 600
# The suite's own time limits want a long-poll answered well within 4.5 s.
LONG_POLL_SECONDS = 2
# What version 0.3.6 holds. A suite that shrinks, or that skips more, must not pass unseen.
EXPECTED_TESTS = 332
LEFT_OUT_GROUP = "Reserved subscription APIs"
LEFT_OUT_TESTS = 6


VERSIONS = ("1.1", "2")
"""As the access log writes them."""


@pytest.mark.conformance
@pytest.mark.timeout(SUITE_SECONDS + 60)
def test_the_official_suite_passes_but_for_subscriptions(
    listener: str,
    server_factory: Callable[..., Server],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    servers = [
        server_factory(
            "--long-poll-timeout", str(LONG_POLL_SECONDS), "--access-log", "full",
            data=tmp_path / version,
        )
        for version in VERSIONS
    ]  # fmt: skip
    # The suite mostly waits: the versions run side by side.
    with ThreadPoolExecutor() as pool:
        reports = list(pool.map(run_suite, servers, VERSIONS))

    for server, version, report in zip(servers, VERSIONS, reports, strict=True):
        cases = [case for file in report["testResults"] for case in file["assertionResults"]]
        left_out = [case for case in cases if case["ancestorTitles"][0] == LEFT_OUT_GROUP]
        counted = [case for case in cases if case["ancestorTitles"][0] != LEFT_OUT_GROUP]
        outcomes = Counter(case["status"] for case in counted)
        record_property("conformance", summary(listener, version, outcomes, len(left_out)))

        assert not [explain(case) for case in counted if case["status"] != "passed"]
        assert len(counted) >= EXPECTED_TESTS
        assert len(left_out) <= LEFT_OUT_TESTS
        server.stop()
        asked = Counter(re.findall(r" version=(\S+) ", server.log))
        assert asked.keys() == {version}
        assert asked[version] > len(counted)


def run_suite(server: Server, version: str) -> dict[str, Any]:
    report = server.data.with_suffix(".report.json")
    vitest = HERE / "node_modules" / "vitest" / "vitest.mjs"
    assert vitest.exists(), "the suite is not installed: run `make test-python`"
    finished = subprocess.run(
        ["node", vitest, "run", "--reporter=json", f"--outputFile={report}"],
        cwd=HERE,
        env=os.environ
        | {
            "DURASTREAM_CONFORMANCE_URL": server.url,
            "DURASTREAM_CONFORMANCE_HTTP": version,
            "DURASTREAM_CONFORMANCE_LONG_POLL_MS": str(LONG_POLL_SECONDS * 1000),
        },
        capture_output=True,
        text=True,
        timeout=SUITE_SECONDS,
        check=False,
    )
    assert report.exists(), f"vitest wrote no report: {finished.stdout}{finished.stderr}"
    parsed: dict[str, Any] = json.loads(report.read_text())
    return parsed


def summary(listener: str, version: str, outcomes: Counter[str], left_out: int) -> str:
    return (
        f"official server suite, {listener} listener, HTTP/{version}: "
        f"{outcomes['passed']} of {outcomes.total()} passed; "
        f"the {left_out} of group '{LEFT_OUT_GROUP}' left out"
    )


def explain(case: dict[str, Any]) -> str:
    first_lines = [message.splitlines()[0] for message in case["failureMessages"] if message]
    return f"{case['fullName']} [{case['status']}]: {'; '.join(first_lines)}"
