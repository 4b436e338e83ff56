"""examples/chat: two people, one room, a server that goes away."""

import signal

import httpx

from support.browser import Browser, Tab
from support.site import Site, StartSite

TEXTS = "[...document.querySelectorAll('#messages li')].map((line) => line.textContent)"


def come_in(browser: Browser, site: Site, name: str, room: str = "") -> Tab:
    tab = browser.open(f"{site.url}/{room}")
    tab.until("document.getElementById('name')")
    tab.evaluate(f"document.getElementById('name').value = {name!r}")
    tab.until("document.getElementById('state').textContent === 'live'")
    return tab


def lines(tab: Tab, count: int) -> list[str]:
    tab.until(f"{TEXTS}.length === {count} && !document.querySelector('.waiting')")
    found: list[str] = tab.evaluate(TEXTS)
    return found


def test_what_one_says_all_in_the_room_see_once(
    start_site: StartSite, browser: Browser | None, http: httpx.Client
) -> None:
    site = start_site("examples.chat")
    assert "<title>Chat</title>" in http.get(site.url).text
    if browser is None:
        by_http(site, http)
        return
    ada, bob = come_in(browser, site, "Ada"), come_in(browser, site, "Bob")
    elsewhere = come_in(browser, site, "Cleo", "#else where/é")
    ada.type_and_submit("text", "Hello <b>Bob</b>")
    assert lines(bob, 1) == ["AdaHello <b>Bob</b>"]
    bob.type_and_submit("text", "Hello Ada")
    both = ["AdaHello <b>Bob</b>", "BobHello Ada"]
    assert lines(ada, 2) == lines(bob, 2) == both

    site.end(signal.SIGKILL)
    ada.type_and_submit("text", "Are you there?")
    ada.until("document.querySelector('.waiting')")
    site.start()
    whole = [*both, "AdaAre you there?"]
    assert lines(ada, 3) == lines(bob, 3) == whole
    # A late-comer sees it all, a stranger nothing.
    assert lines(come_in(browser, site, "Dan"), 3) == whole
    assert lines(elsewhere, 0) == []


def test_a_reload_loses_nothing_that_waits_and_writes_nothing_twice(
    start_site: StartSite, browser: Browser | None, http: httpx.Client
) -> None:
    site = start_site("examples.chat")
    if browser is None:
        by_http(site, http)
        return
    ada, bob = come_in(browser, site, "Ada", "#reload"), come_in(browser, site, "Bob", "#reload")
    texts = [f"Ada{number}" for number in range(60)]
    for begin in (0, 30):
        ada.evaluate(f"""(() => {{
            for (let number = {begin}; number < {begin} + 30; number++) {{
                document.getElementById('text').value = String(number);
                document.getElementById('say').requestSubmit();
            }}
        }})()""")
        ada.reload()
    assert lines(ada, 60) == lines(bob, 60) == texts


def by_http(site: Site, http: httpx.Client) -> None:
    """What the page does, without the page."""
    room = f"{site.url}/v1/stream/rooms/lobby"
    json = {"content-type": "application/json"}
    assert http.put(room, headers=json).status_code == 201
    assert http.put(room, headers=json).status_code == 200
    producer = {"producer-id": "p", "producer-epoch": "0", "producer-seq": "0"}
    assert http.post(room, headers=json | producer, content=b'{"text":"a"}').status_code == 200
    site.end(signal.SIGKILL)
    site.start()
    assert http.post(room, headers=json | producer, content=b'{"text":"a"}').status_code == 204
    assert http.get(room).json() == [{"text": "a"}]
