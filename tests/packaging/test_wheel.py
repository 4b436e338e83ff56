"""The wheel in an environment of its own, beside the official client."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]

BESIDE_THE_OFFICIAL_CLIENT = """
from durable_streams import DurableStream
from durastream.testing import LocalServer

with LocalServer("./data") as server:
    stream = DurableStream.create(server.stream_url("notes"), content_type="text/plain")
    stream.append(b"from the official client")
    import durastream.client
    with durastream.client.stream(server.stream_url("notes")) as response:
        print(response.read().decode())
"""

FILES_OF_BOTH = """
from importlib.metadata import files
ours, theirs = ({str(file) for file in files(name)} for name in ("durastream", "durable-streams"))
print(len(ours) > 20, len(theirs) > 5, sorted(ours & theirs))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; it must succeed, and knows nothing of this checkout's environment."""
    inherited = {key: value for key, value in os.environ.items() if "VIRTUAL_ENV" not in key}
    ran = subprocess.run(
        command, cwd=cwd, env=inherited, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    """A virtual environment with the wheel that `make wheel` builds, and the official client."""
    with TemporaryDirectory() as name:
        place = Path(name)
        # Not stripped: that would compile every crate a second time.
        run("make", "wheel", "STRIP=", f"DIST={place / 'dist'}", cwd=ROOT)
        (wheel,) = (place / "dist").glob("durastream-*.whl")
        (uv,) = ROOT.glob(".cache/uv-*/bin/uv")
        run(uv, "venv", "--quiet", place / "venv", cwd=place)
        python = place / "venv/bin/python"
        run(
            *(uv, "pip", "install", "--quiet", "--python", python),
            *(f"{wheel}[fast]", "durable-streams", "pytest"),
            cwd=place,
        )
        yield place


@pytest.mark.timeout(400)
def test_it_shares_no_file_with_the_official_client(environment: Path) -> None:
    said = run("venv/bin/python", "-c", FILES_OF_BOTH, cwd=environment)
    assert said.split(maxsplit=2) == ["True", "True", "[]\n"]


def test_it_works_beside_the_official_client(environment: Path) -> None:
    said = run("venv/bin/python", "-c", BESIDE_THE_OFFICIAL_CLIENT, cwd=environment)
    assert said == "from the official client\n"


def test_it_brings_the_command_and_the_licence(environment: Path) -> None:
    assert run("venv/bin/durable-streams", "--version", cwd=environment).startswith(
        "durable-streams "
    )
    assert list(environment.glob("venv/lib/python3*/site-packages/durastream-*/licenses/LICENSE"))
    assert list(environment.glob("venv/lib/python3*/site-packages/durastream/py.typed"))


def test_it_brings_the_pytest_plugin(environment: Path) -> None:
    (environment / "test_it.py").write_text(
        "def test_it(log_engine):\n    log_engine.create('a')\n"
    )
    assert "1 passed" in run("venv/bin/python", "-m", "pytest", "-q", "test_it.py", cwd=environment)
