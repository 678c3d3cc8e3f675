"""Fixtures of the browser tests: one chromium for all of them, an app for each module that wants one."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.driving import CHROMIUM, App, Visitor, chromium

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="package")
def browser() -> Iterator[playwright.Browser]:
    program = chromium()
    if program is None:
        pytest.skip("there is no chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        playwright.expect.set_options(timeout=30_000)  # the machine may be busy
        opened = driver.chromium.launch(executable_path=program, args=list(CHROMIUM))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], App]]:
    """Starts an app on a workspace; apps and their workers are stopped when the module is over."""
    started: list[App] = []

    def start(workspace: Path) -> App:
        app = App(workspace, tmp_path_factory.mktemp("app") / "streamlit.log")
        started.append(app)
        app.start()
        return app

    yield start
    for app in started:
        app.stop()


@pytest.fixture(scope="module")
def browsers(browser: playwright.Browser) -> Iterator[Callable[[App], Visitor]]:
    """Gives each app one browser for the whole module, so that the app's own files are read once."""
    opened: dict[int, Visitor] = {}

    def open_on(app: App) -> Visitor:
        if app.port not in opened:
            opened[app.port] = Visitor(browser, app)
        return opened[app.port]

    yield open_on
    for visitor in opened.values():
        visitor.close()


@pytest.fixture
def visitors(browsers: Callable[[App], Visitor]) -> Iterator[Callable[[App], Visitor]]:
    """Opens a blank tab on an app. At the end no tab may have asked anything of anybody else."""
    used: list[Visitor] = []

    def open_on(app: App) -> Visitor:
        used.append(browsers(app).with_a_blank_tab())
        return used[-1]

    yield open_on
    asked = [url for visitor in used for url in visitor.foreign]
    for visitor in used:
        visitor.leave()
    assert asked == []
