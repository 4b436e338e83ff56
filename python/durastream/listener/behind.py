"""The listener behind the native one: what is no operation of a stream, over a Unix socket of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durastream.listener.request import Application, Receive, Scope, Send

SCHEME = b"durastream-scheme"
"""Says how the client reached the native listener, which lets nobody else say it."""
BACKLOG = 1024
FOLDER = "run"
NAME = "control.sock"
LONGEST_PATH = 100
"""The system takes 107 bytes."""


class Behind:
    """An ASGI application as seen from the native listener's clients."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of the native listener."""
        for name, value in scope["headers"]:
            if name == SCHEME:
                scope["scheme"] = str(value, "latin-1")
        scope["headers"] = [field for field in scope["headers"] if field[0] != SCHEME]
        await self._app(scope, receive, send)


@contextlib.contextmanager
def control_socket(data: str) -> Iterator[tuple[socket.socket, str]]:
    """A listening Unix socket in the runtime folder of a data directory, and its path for this process.

    Only the owner can connect. Raises OSError. Whoever holds the directory's lock owns what is there.
    """
    with contextlib.ExitStack() as cleanup:
        if Path(data).is_dir():
            folder = Path(data) / FOLDER
            folder.mkdir(mode=0o700, exist_ok=True)
        else:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="durastream-")))
        place = folder / NAME
        place.unlink(missing_ok=True)
        cleanup.callback(place.unlink, missing_ok=True)
        path = str(place)
        if len(os.fsencode(path)) > LONGEST_PATH:
            # By way of the open folder: as short as one likes.
            descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            cleanup.callback(os.close, descriptor)
            path = f"/proc/self/fd/{descriptor}/{NAME}"
        sock = cleanup.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.setblocking(False)
        sock.bind(path)
        place.chmod(0o600)
        sock.listen(BACKLOG)
        yield sock, path
