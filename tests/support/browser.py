"""A real browser: Debian's chromium, headless, driven over its debugging pipe."""

import base64
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHROMIUM = shutil.which("chromium")
SECONDS = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,800",
    "--remote-debugging-pipe",
)


class Browser:
    """One browser process with a profile of its own."""

    def __init__(self) -> None:
        assert CHROMIUM is not None, "chromium is not installed"
        self._profile = tempfile.mkdtemp(prefix="durastream-browser-")
        its_in, ours_out = os.pipe()
        ours_in, its_out = os.pipe()
        # The browser reads from descriptor 3 and writes to 4; away from those first.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (its_in, its_out)]
        self._process = subprocess.Popen(
            [
                "/bin/bash", "-c", f'exec "$@" 3<&{high[0]} 4>&{high[1]}', "bash",
                CHROMIUM, *FLAGS, f"--user-data-dir={self._profile}",
            ],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in (its_in, its_out, *high):
            os.close(fd)
        self._in, self._out = ours_in, ours_out
        self._number = 0
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)

    def open(self, url: str) -> "Tab":
        """A new tab."""
        target = self.call("Target.createTarget", url=url)["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        return Tab(self, attached["sessionId"])

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """One command and its answer; events that come between are dropped."""
        self._number += 1
        asked: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            asked["sessionId"] = session
        os.write(self._out, json.dumps(asked).encode() + b"\0")
        while True:
            told = self._message()
            if told.get("id") == self._number:
                assert "error" not in told, told["error"]
                result: dict[str, Any] = told["result"]
                return result

    def close(self) -> None:
        """End it and remove its profile."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        os.close(self._in)
        os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _message(self) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            assert self._selector.select(deadline - time.monotonic()), "the browser says nothing"
            piece = os.read(self._in, 1 << 20)
            assert piece, "the browser ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told


class Tab:
    """One page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401  (JSON)
        """The value of a JavaScript expression, awaited."""
        told = self._browser.call(
            "Runtime.evaluate",
            self._session,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str, seconds: float = SECONDS) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < deadline, f"not true in {seconds} s: {expression}"
            time.sleep(0.05)

    def text(self, element: str) -> str:
        """What the element with this id shows."""
        return str(self.evaluate(f"document.getElementById({element!r}).textContent"))

    def reload(self) -> None:
        """As F5 does."""
        self.evaluate("window.before = true")
        self._browser.call("Page.reload", self._session)
        self.until("window.before === undefined && document.readyState === 'complete'")

    def type_and_submit(self, element: str, text: str) -> None:
        """Type into a field as a keyboard does, and press Enter."""
        self.until(f"document.getElementById({element!r})")
        self.evaluate(f"document.getElementById({element!r}).focus()")
        self._browser.call("Input.insertText", self._session, text=text)
        for kind in ("keyDown", "keyUp"):
            self._browser.call(
                "Input.dispatchKeyEvent",
                self._session,
                type=kind,
                key="Enter",
                text="\r",
                windowsVirtualKeyCode=13,
            )

    def screenshot(self, file: Path) -> None:
        """Write what it shows as a PNG."""
        told = self._browser.call("Page.captureScreenshot", self._session, format="png")
        file.write_bytes(base64.b64decode(told["data"]))
