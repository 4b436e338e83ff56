"""Builds the peers into a cache directory, once; what cannot be built is an `UnmeasuredError`."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.rounds import UnmeasuredError

BENCH = Path(__file__).parent.parent
CACHE = Path(os.environ.get("BENCH_CACHE", BENCH.parent / ".cache" / "bench"))
E_VERSION = "0.1.5"


def program(name: str, package: str) -> str:
    """One that the system must have."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/go/bin")
    if found is None:
        raise UnmeasuredError(f"{name} is missing (Debian: apt-get install {package})")
    return found


def run(command: list[str], **environment: str) -> None:
    print(f"building: {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    if done.returncode:
        raise UnmeasuredError(f"{' '.join(command)} failed: {done.stdout[-1000:]}")


@functools.cache
def peer_e() -> str:
    """The strongest other server of the protocol, from crates.io."""
    root = CACHE / f"durable-streams-{E_VERSION}"
    binary = root / "bin" / "durable-streams-server"
    if not binary.exists():
        cargo = program("cargo", "cargo")
        version = ["--version", E_VERSION, "--root", str(root)]
        run([cargo, "install", "--quiet", "durable-streams", *version])
    return str(binary)


@functools.cache
def _load_tools() -> Path:
    """The generator and the empty hyper server of bench/load."""
    target = CACHE / "load"
    manifest = str(BENCH / "load" / "Cargo.toml")
    cargo = program("cargo", "cargo")
    command = [cargo, "build", "--quiet", "--release", "--locked", "--manifest-path", manifest]
    run(command, CARGO_TARGET_DIR=str(target))
    return target / "release"


def generator() -> str:
    return str(_load_tools() / "load")


def limit() -> str:
    return str(_load_tools() / "limit")


@functools.cache
def node_reference() -> list[str]:
    """The reference server of the protocol's authors, with the file store."""
    home = CACHE / "node"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "serve.mjs"):
        shutil.copy(BENCH / "peers" / "node" / name, home / name)
    npm = program("npm", "npm")
    run([npm, "install", "--prefix", str(home), "--no-progress", "--loglevel=error"])
    return [program("node", "nodejs"), str(home / "serve.mjs")]


@functools.cache
def nats() -> tuple[str, str]:
    """NATS with JetStream, and the driver that publishes to it."""
    source = BENCH / "peers" / "nats"
    go = program("go", "golang")
    server, driver = CACHE / "nats-server", CACHE / "nats-driver"
    run([go, "build", "-C", str(source), "-o", str(server), "github.com/nats-io/nats-server/v2"])
    run([go, "build", "-C", str(source), "-o", str(driver), "."])
    return str(server), str(driver)
