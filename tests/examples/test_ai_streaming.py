"""examples/ai_streaming: an answer goes on without its reader, and is told to whoever comes."""

import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from examples.ai_streaming.models import FAKE_ANSWER, texts
from support.browser import Browser, Tab
from support.site import Site, StartSite

MODULE = "examples.ai_streaming"
QUESTION = "Wozu <b>das</b>?"
WHOLE = FAKE_ANSWER.format(prompt=QUESTION)
WORDS = ["Quite ", "a\r\n", "real", " one:\n\n", "ü"]


@pytest.fixture
def site(start_site: StartSite) -> Site:
    """The example with the pretended model."""
    return start_site(MODULE, OPENAI_BASE_URL="")


def ask(http: httpx.Client, site: Site, question: str = QUESTION) -> str:
    """Ask; the URL of the answer's stream."""
    asked = http.post(f"{site.url}/api/answers", json={"prompt": question})
    assert asked.status_code == 201
    return site.url + str(asked.json()["stream"])


def messages(http: httpx.Client, stream: str) -> list[dict[str, str]]:
    """What is in the stream by now."""
    found: list[dict[str, str]] = http.get(stream).raise_for_status().json()
    return found


def told(found: list[dict[str, str]]) -> str:
    """The text of an answer."""
    return "".join(message["text"] for message in found if message["type"] == "text")


def until_closed(http: httpx.Client, stream: str) -> list[dict[str, str]]:
    """Everything in the stream once it is complete."""
    deadline = time.monotonic() + 30
    while http.head(stream).headers.get("stream-closed") != "true":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return messages(http, stream)


def some_of(http: httpx.Client, stream: str) -> list[dict[str, str]]:
    """The stream when an answer has begun, and has not ended."""
    deadline = time.monotonic() + 30
    while len(found := messages(http, stream)) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_page_that_is_reloaded_shows_all_and_goes_on(
    site: Site, browser: Browser | None, http: httpx.Client
) -> None:
    if browser is None:
        stream = ask(http, site)
        begun = some_of(http, stream)
    else:
        tab = browser.open(site.url)
        tab.type_and_submit("question", QUESTION)
        tab.until("document.getElementById('answer').textContent.length > 60")
        before = tab.text("answer")
        stream = f"{site.url}/streams/answers/{tab.evaluate('location.hash.slice(1)')}"
        begun = messages(http, stream)
        assert told(begun).startswith(before)
        tab.reload()
        tab.until("document.getElementById('answer').textContent.length > 60")
        assert tab.text("prompt") == QUESTION
        assert "live" in tab.text("state")
        second = browser.open(f"{site.url}/#{tab.evaluate('location.hash.slice(1)')}")
        for each in (tab, second):
            each.until("document.getElementById('state').textContent.startsWith('complete')")
            assert each.text("answer") == WHOLE
            assert each.evaluate("document.getElementById('stop').hidden")
    assert begun[0] == {"type": "prompt", "text": QUESTION}
    assert begun[-1]["type"] == "text"
    whole = until_closed(http, stream)
    assert told(whole) == WHOLE
    assert whole[-1] == {"type": "end"}


def test_a_page_goes_on_over_a_restart_and_shows_nothing_twice(
    site: Site, browser: Browser | None, http: httpx.Client
) -> None:
    if browser is None:
        stream = ask(http, site)
        some_of(http, stream)
    else:
        tab = browser.open(site.url)
        tab.type_and_submit("question", QUESTION)
        tab.until("document.getElementById('answer').textContent.length > 60")
        stream = f"{site.url}/streams/answers/{tab.evaluate('location.hash.slice(1)')}"
    site.end(signal.SIGKILL)
    if browser is not None:
        tab.until("document.getElementById('state').textContent.startsWith('reconnecting')")
    site.start()
    found = until_closed(http, stream)
    assert WHOLE.startswith(told(found))
    assert found[-1]["type"] == "error"
    assert "stopped before" in found[-1]["text"]
    if browser is not None:
        tab.until("document.getElementById('state').textContent.startsWith('complete')")
        assert tab.text("answer") == told(found)
        assert "stopped before" in tab.text("note")


def test_stop_ends_the_answer_for_everybody(
    site: Site, browser: Browser | None, http: httpx.Client
) -> None:
    if browser is None:
        stream = ask(http, site)
        some_of(http, stream)
        answer = stream.rpartition("/")[2]
        assert http.delete(f"{site.url}/api/answers/{answer}").status_code == 204
    else:
        tab: Tab = browser.open(site.url)
        tab.type_and_submit("question", QUESTION)
        tab.until("document.getElementById('answer').textContent.length > 10")
        tab.evaluate("document.getElementById('stop').click()")
        tab.until("document.getElementById('note').textContent === 'Stopped.'")
        answer = tab.evaluate("location.hash.slice(1)")
        stream = f"{site.url}/streams/answers/{answer}"
    found = until_closed(http, stream)
    assert found[-1] == {"type": "stopped"}
    assert len(told(found)) < len(WHOLE)
    assert http.delete(f"{site.url}/api/answers/{answer}").status_code == 404


def test_ctrl_c_ends_the_answers_in_progress(site: Site, http: httpx.Client) -> None:
    stream = ask(http, site)
    some_of(http, stream)
    with http.stream("GET", stream, params={"offset": "-1", "live": "sse"}) as watching:
        assert watching.status_code == 200
        site.end(signal.SIGINT)
    site.start()
    assert messages(http, stream)[-1] == {"type": "stopped"}


def test_browsers_only_read(site: Site, http: httpx.Client) -> None:
    stream = ask(http, site)
    for method in ("PUT", "POST", "DELETE", "PATCH"):
        assert http.request(method, stream, content=b"[]").status_code == 405
    assert http.post(f"{site.url}/api/answers", json={"prompt": "  "}).status_code == 422
    shown = http.get(f"{site.url}/api/answers").json()
    assert [(each["prompt"], each["complete"]) for each in shown] == [(QUESTION, False)]
    http.delete(f"{site.url}/api/answers/{shown[0]['id']}")


class OpenAILike(BaseHTTPRequestHandler):
    """Streams chat completions as OpenAI's API does, or fails in the middle."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != "Bearer secret" or not asked["stream"]:
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.send_chunk({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for word in WORDS:
            self.send_chunk({"choices": [{"delta": {"content": word}}]})
        if "break" not in asked["messages"][0]["content"]:
            self.send_chunk({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            self.send_chunk({"choices": [], "usage": {"total_tokens": 9}})
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.wfile.write(b"data: {broken\n\n")

    def send_chunk(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def model_server() -> Iterator[str]:
    """A server with OpenAI's API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAILike)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_server_with_openais_api_can_be_the_model(
    start_site: StartSite, model_server: str, http: httpx.Client
) -> None:
    site = start_site(MODULE, OPENAI_BASE_URL=model_server, OPENAI_API_KEY="secret")
    whole = until_closed(http, ask(http, site))
    assert [message.get("text") for message in whole] == [QUESTION, *WORDS, None]
    broken = until_closed(http, ask(http, site, "break it"))
    assert told(broken) == "".join(WORDS)
    assert broken[-1]["type"] == "error"
    assert "JSONDecodeError" in broken[-1]["text"]


def test_a_model_that_refuses_is_told_to_the_reader(
    start_site: StartSite, model_server: str, http: httpx.Client
) -> None:
    site = start_site(MODULE, OPENAI_BASE_URL=model_server, OPENAI_API_KEY="wrong")
    found = until_closed(http, ask(http, site))
    assert [message["type"] for message in found] == ["prompt", "error"]
    assert "401" in found[-1]["text"]


def test_chunks_may_be_objects_as_the_openai_package_gives_them() -> None:
    async def chunks() -> AsyncIterator[Any]:
        for content in ("one", None, " two"):
            yield SimpleNamespace(
                choices=[SimpleNamespace(delta=SimpleNamespace(content=content))], usage=None
            )
        yield SimpleNamespace(choices=[], usage=SimpleNamespace(total_tokens=2))

    async def collect() -> list[str]:
        return [text async for text in texts(chunks())]

    assert anyio.run(collect) == ["one", " two"]
