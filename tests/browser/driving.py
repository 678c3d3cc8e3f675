"""What the browser tests drive with: the app as a process, and a page that notes everything it asks for."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from playwright.sync_api import Browser, BrowserContext, FloatRect, Locator, Page, expect

import jobs
from tests.faults import ROOT, environment

PATIENCE = 60.0  # seconds until a test gives up on a busy machine
# No name resolves but loopback's, so a request that should not be made cannot leave this machine either.
CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
PAGES = (
    "",
    "import",
    "harvest",
    "seeds",
    "documents",
    "generate",
    "replies",
    "prompts",
    "evolve",
    "trees",
    "samples",
    "row",
    "clean",
    "near-duplicates",
    "decontaminate",
    "insights",
    "review",
    "datasets",
    "train",
    "runs",
    "run",
    "chat",
    "jobs",
    "settings",
)
INLINE = ("data:", "blob:", "about:")  # addresses that ask nobody


def chromium() -> str | None:
    """Name the browser of this machine; None when there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: Callable[[], object], limit: float = PATIENCE) -> None:
    """Wait until something is true. Fails when it does not become so."""
    deadline = time.monotonic() + limit
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


class App:
    """`python serve.py` on a workspace, on a port of its own; it can be killed and started again."""

    def __init__(self, workspace: Path, log: Path, port: int | None = None) -> None:
        self.workspace, self.port = workspace, port or free_port()
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = [sys.executable, "serve.py", "--workspace", str(self.workspace), "--port", str(self.port)]
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                words, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self._log.read_text()
        with (
            suppress(OSError),
            urllib.request.urlopen(f"{self.origin}/_stcore/health", timeout=2) as answer,
        ):
            return bool(answer.read() == b"ok")
        return False

    def kill(self) -> None:
        """End the app as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """End the app and the worker it started. The app first: it would start another worker."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait(PATIENCE)
        for one in jobs.active(self.workspace):
            jobs.cancel(self.workspace, one.id)
        words = [sys.executable, "-m", "jobs", "stop", "--workspace", str(self.workspace)]
        subprocess.run(words, cwd=ROOT, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)

    def url(self, page: str = "", /, **query: str) -> str:
        return f"{self.origin}/{page}" + (f"?{urlencode(query)}" if query else "")


class Visitor:
    """A person's browser: tabs on one app, and a list of what they asked of anybody else."""

    def __init__(
        self,
        browser: Browser,
        app: App,
        size: tuple[int, int] = (1440, 900),
        scheme: Literal["light", "dark"] = "light",
    ) -> None:
        self.app = app
        self.context: BrowserContext = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, accept_downloads=True
        )
        self.context.set_default_timeout(PATIENCE * 500)
        self.foreign: list[str] = []
        self.context.on("request", lambda request: self._note(request.url))
        self.page: Page

    def with_a_fresh_tab(self) -> "Visitor":
        self.page = self.tab()
        return self

    def with_a_blank_tab(self) -> "Visitor":
        """Take the tab that `leave` left, or a new one: a new one costs a second more."""
        pages = self.context.pages
        self.page = pages[0] if pages else self.tab()
        return self

    def leave(self) -> None:
        """Leave the app: one tab stays, blank, and knows nothing of before. Whoever looked is gone."""
        for page in self.context.pages[1:]:
            page.close()
        for page in self.context.pages:
            if page.url.startswith(self.app.origin):
                page.evaluate("sessionStorage.clear()")
            page.goto("about:blank")
        self.foreign.clear()

    def close_tabs(self) -> None:
        self.foreign.clear()
        for page in self.context.pages:
            page.close()

    def _note(self, url: str) -> None:
        if not url.startswith(INLINE) and urlsplit(url).netloc != f"127.0.0.1:{self.app.port}":
            self.foreign.append(url)

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("websocket", lambda socket: self._note(socket.url))
        return page

    def open(self, name: str = "", tab: Page | None = None, /, **query: str) -> Page:
        """Open a page of the app and wait until it is drawn."""
        page = tab or self.page
        page.goto(self.app.url(name, **query))
        return settled(page)

    def close(self) -> None:
        self.context.close()


def settled(page: Page) -> Page:
    """Wait until the script has run to its end, its first title stands, and everything is drawn.

    A browser that is new to the app fetches the code of buttons after the script has ended: a placeholder
    stands for each until then, and hears no key."""
    state = page.get_by_test_id("stApp")
    expect(state).to_have_attribute("data-test-script-state", "notRunning", timeout=PATIENCE * 1000)
    expect(page.locator("h1").first).to_be_visible(timeout=PATIENCE * 1000)
    expect(state).to_have_attribute("data-test-script-state", "notRunning", timeout=PATIENCE * 1000)
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE * 1000)
    return page


def query_of(page: Page) -> dict[str, str]:
    """Read the address of a page."""
    search = page.evaluate("location.search")  # page.url lags behind while nothing waits on the page
    return {name: values[0] for name, values in parse_qs(search.lstrip("?")).items()}


def keyed(page: Page, key: str) -> Locator:
    """Find the element that the page gave this key."""
    return page.locator(f".st-key-{key}").first


def press(page: Page, key: str) -> Page:
    """Press the button that has this key, and wait until the page is drawn."""
    keyed(page, key).get_by_role("button").first.click()
    return settled(page)


def download(page: Page, key: str, file: Path) -> None:
    """Press the download button that has this key, and keep what comes.

    Not while the page is drawn: Streamlit forgets the file of a button that is drawn anew, and tells
    "Failed to generate file for download"."""
    settled(page)
    with page.expect_download() as got:
        keyed(page, key).get_by_role("button").click()
    got.value.save_as(file)


def type_into(page: Page, key: str, text: str) -> None:
    """Type into the box that has this key, and leave it."""
    box = keyed(page, key).get_by_role("textbox").first
    box.fill(text)
    box.press("Tab")
    settled(page)


def at_rest(page: Page, what: Locator) -> FloatRect:
    """Give the place of an element once it has stopped moving."""
    places: list[FloatRect | None] = [None]

    def _rests() -> bool:
        places.append(what.bounding_box())
        page.wait_for_timeout(100)
        return places[-1] is not None and places[-1] == places[-2]

    wait_for(_rests)
    place = places[-1]
    assert place is not None
    return place


def click_cell(page: Page, key: str, row: int = 0, x: int = 120) -> None:
    """Click a cell of a table. Tables are canvases: by place, 35 px a row below the head.

    A table is drawn after the script has ended, and loses clicks until screen readers are told its cells."""
    table = keyed(page, key)
    expect(table.get_by_test_id("data-grid-canvas").first.locator("[role=gridcell]").first).to_be_attached()
    table.scroll_into_view_if_needed()
    box = at_rest(page, table)
    page.mouse.click(box["x"] + x, box["y"] + 35 * (row + 1) + 17)


def text_of(page: Page) -> str:
    """Give what can be read on the page."""
    return re.sub(r"\s+", " ", page.get_by_test_id("stMain").inner_text())


def worker_pid(workspace: Path) -> int:
    """Name the process of the living worker."""
    pid = (workspace / jobs.WORKER_LOCK).read_text().split()[0]
    os.kill(int(pid), 0)
    return int(pid)
