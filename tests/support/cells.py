"""The four cells of every suite about serving: each listener, over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Final, TypedDict

import pytest
import trustme


class Spoken(TypedDict):
    """Arguments of an httpx client."""

    http1: bool
    http2: bool


SPOKEN: Final = {
    "HTTP/1.1": Spoken(http1=True, http2=False),
    "HTTP/2": Spoken(http1=False, http2=True),
}
"""What makes an httpx client speak a version and no other: HTTP/2 by prior knowledge, or by ALPN over TLS."""

ONLY_HTTP1: Final = pytest.mark.parametrize("version", ["HTTP/1.1"])
"""For tests of what only HTTP/1.1 has: its framing, its heads, its pipelining."""
ONLY_HTTP2: Final = pytest.mark.parametrize("version", ["HTTP/2"])
"""For tests of what only HTTP/2 has: streams that share a connection, windows."""


class Authority:
    """A certificate authority of this run, and a certificate of its own for 127.0.0.1."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="durastream-authority-")
        made = trustme.CA()
        directory = Path(self._directory.name)
        self.certificate = directory / "authority.pem"
        made.cert_pem.write_to_path(self.certificate)
        self._server = directory / "server.pem"
        made.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self._server)

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of `serve` for https."""
        return ("--tls-cert", str(self._server), "--tls-key", str(self._server))

    @property
    def serving(self) -> ssl.SSLContext:
        """For a server within this process."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._server)
        return context

    @property
    def variables(self) -> dict[str, str]:
        """What makes programs trust it: Python's and Node's.

        It also spares every HTTP client that a test makes some 30 ms of loading the certificates of the world.
        """
        return {
            "SSL_CERT_FILE": str(self.certificate),
            "NODE_EXTRA_CA_CERTS": str(self.certificate),
        }

    def close(self) -> None:
        """Remove its files."""
        self._directory.cleanup()
