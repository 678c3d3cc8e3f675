"""The running server as a stranger finds it: this machine, this host name, no foreign callers (S39)."""

import base64
import http.client
import os
import re
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.browser.driving import PAGES, App, Visitor


@pytest.fixture(scope="module")
def app(apps: Callable[[Path], App], tmp_path_factory: pytest.TempPathFactory) -> App:
    return apps(tmp_path_factory.mktemp("server") / "workspace")


def status(app: App, method: str, path: str, headers: dict[str, str], body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", app.port, timeout=20)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{app.port}", **headers}.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        return connection.getresponse().status
    finally:
        connection.close()


def test_it_listens_on_this_machine_only(app: App) -> None:
    assert app.process is not None
    listening = [
        one.laddr for one in psutil.Process(app.process.pid).net_connections() if one.status == "LISTEN"
    ]
    assert {(address.ip, address.port) for address in listening} == {("127.0.0.1", app.port)}


@pytest.mark.parametrize(
    ("origin", "host", "wanted"),
    [
        ("http://127.0.0.1", "127.0.0.1", 101),
        ("http://localhost", "localhost", 101),
        ("http://evil.example", "127.0.0.1", 403),
        ("http://127.0.0.1", "evil.example", 403),
        ("http://evil.example", "evil.example", 403),
    ],
)
def test_a_page_or_a_host_name_of_somebody_else_gets_no_connection(
    app: App, origin: str, host: str, wanted: int
) -> None:
    """All that a page shows comes over this connection; the last case is DNS rebinding.

    Streamlit looks at the host name here only: its own files, the same on every machine, are served to any.
    """
    headers = {
        "Host": f"{host}:{app.port}",
        "Origin": f"{origin}:{app.port}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "streamlit",
    }
    assert status(app, "GET", "/_stcore/stream", headers) == wanted


@pytest.mark.parametrize("headers", [{}, {"X-Xsrftoken": "guessed", "Cookie": "_streamlit_xsrf=other"}])
def test_an_upload_without_the_token_is_refused(app: App, headers: dict[str, str]) -> None:
    assert status(app, "PUT", "/_stcore/upload_file/session/file", headers, b"x") == 403


def test_looking_at_every_page_asks_nobody_else_and_shows_no_traceback(
    app: App, visitors: Callable[[App], Visitor]
) -> None:
    """The fixture fails when any tab asked anything of another origin."""
    visitor = visitors(app)
    for name in PAGES:
        page = visitor.open(name)
        text = page.locator("body").inner_text()
        assert not re.search("Traceback|Something unexpected", text), (name, text)
    assert visitor.foreign == []
