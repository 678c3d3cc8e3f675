"""A set is streamed at one revision; what the hub or the network refuses is said in one line."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from curation.errors import WrongInput
from curation.hub import HubStream, plain_line, read_hub_rows
from curation.reading import FileRow
from curation.records import BadRow

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "hf_SECRETSECRETSECRETSECRETSECRET"
OTHER_TOKEN = "hf_OTHEROTHEROTHER"
TORN = b'{"q": "a"}\n{"q": "b'
REFUSALS: dict[str, tuple[int, str]] = {
    "unknown": (404, "RepoNotFound"),
    "private": (401, "RepoNotFound"),
    "gated": (403, "GatedRepo"),
    "broken": (500, ""),
}


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(**files: list[dict[str, Any]] | bytes) -> Path:
        for name, rows in files.items():
            data = (
                rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
            )
            (tmp_path / f"{name}.jsonl").write_bytes(data)
        return tmp_path

    return write


@pytest.fixture
def hub() -> Iterator[str]:
    """Run a hub on this machine that refuses every set in its own way."""

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, code = REFUSALS[self.path.split("/")[3]]
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            said = f"no, {self.headers.get('Authorization')} and {OTHER_TOKEN}"
            self.send_header("X-Error-Message", said)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def rows_of(name: str) -> list[FileRow | BadRow]:
    return list(read_hub_rows(name)[1])


def test_a_folder_gives_the_rows_of_the_split_that_is_asked_for(folder: Callable[..., Path]) -> None:
    path = folder(train=[{"q": "a", "n": 1}, {"q": "b", "n": None}], test=[{"q": "c", "n": 3}])
    assert rows_of(f"hf:{path}") == [
        FileRow(0, None, {"q": "a", "n": 1}),
        FileRow(1, None, {"q": "b", "n": None}),
    ]
    assert rows_of(f"hf:{path}:test") == [FileRow(0, None, {"q": "c", "n": 3})]


def test_the_revision_of_a_folder_follows_its_content(folder: Callable[..., Path]) -> None:
    path = folder(train=[{"q": "a"}])
    revision = read_hub_rows(f"hf:{path}")[0]
    (path / ".hidden").write_text("x")
    assert read_hub_rows(f"hf:{path}")[0] == revision
    folder(train=[{"q": "b"}])
    assert read_hub_rows(f"hf:{path}")[0] != revision


def test_a_row_that_no_database_can_hold_is_a_bad_row(folder: Callable[..., Path]) -> None:
    path = folder(train=[{"q": "a"}, {"q": "b\0"}, {"q": "c"}])
    first, second, third = rows_of(f"hf:{path}")
    assert isinstance(first, FileRow) and isinstance(third, FileRow)
    assert isinstance(second, BadRow) and (second.reason, second.position) == ("nul_character", 1)


def test_a_broken_file_in_a_set_is_named_with_a_way_out(folder: Callable[..., Path]) -> None:
    (row,) = rows_of(f"hf:{folder(train=TORN)}")
    assert isinstance(row, BadRow) and row.reason == "truncated"
    assert "one by one" in row.message and "\n" not in row.message


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("hf:", "names no set"),
        ("hf::train", "names no set"),
        ("hf:/no/such/folder", "no folder"),
        ("hf:./no", "no folder"),
        ("hf:two words", "is no name"),
        ("hf:https://example.org/x", "is no name"),
        ("hf:a/b/c", "is no name"),
        ("hf:a..b/c", "is no name"),
    ],
)
def test_a_name_that_cannot_be_is_refused_without_asking_the_hub(name: str, word: str) -> None:
    with pytest.raises(WrongInput, match=word):
        read_hub_rows(name)


def test_a_split_that_is_not_there_is_named_with_those_that_are(folder: Callable[..., Path]) -> None:
    path = folder(train=[{"q": "a"}], test=[{"q": "b"}])
    with pytest.raises(WrongInput, match=r"'nope'.*train.*test"):
        read_hub_rows(f"hf:{path}:nope")


def test_a_folder_without_data_or_with_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="data files"):
        read_hub_rows(f"hf:{tmp_path}")
    proof = tmp_path / "it_ran"
    (tmp_path / f"{tmp_path.name}.py").write_text(f"open({str(proof)!r}, 'w')")
    with pytest.raises(WrongInput):
        read_hub_rows(f"hf:{tmp_path}")
    assert not proof.exists()


def test_a_file_is_sent_to_the_way_files_are_read(folder: Callable[..., Path]) -> None:
    with pytest.raises(WrongInput, match="without hf:"):
        read_hub_rows(f"hf:{folder(train=[{'q': 'a'}])}/train.jsonl")


ASK = """
import sys
from curation.errors import CurationError
from curation.hub import HubStream, read_hub_rows
for name in sys.argv[1:]:
    try:
        HubStream(name) if name.endswith(":python") else read_hub_rows(name)
    except CurationError as error:
        sys.stdout.write(f"{type(error).__name__} {error}\\n")
"""


def asked(endpoint: str, *names: str) -> list[str]:
    """Ask a hub in a process of its own: its address is read once, when the library is imported."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env={
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PATH": "/usr/bin:/bin",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout and OTHER_TOKEN not in done.stdout and "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_a_hub_that_cannot_be_reached_is_no_fault_of_the_name() -> None:
    (line,) = asked("http://127.0.0.1:9", "hf:owner/set")
    assert line.startswith("SourceUnavailable 'owner/set' cannot be reached")
    assert "check the network" in line


def test_each_refusal_of_the_hub_is_told_apart(hub: str) -> None:
    unknown, private, gated, broken = asked(hub, *(f"hf:{name}/set" for name in REFUSALS))
    assert unknown.startswith("WrongInput the hub has no set 'unknown/set'")
    assert private.startswith("WrongInput the hub has no set") and "HF_TOKEN" in private
    assert gated.startswith("WrongInput the set 'gated/set' is gated") and "accept its terms" in gated
    assert broken.startswith("SourceUnavailable 'broken/set' cannot be reached")


def test_each_refusal_of_a_stream_is_told_apart(hub: str) -> None:
    unknown, private, gated, broken = asked(hub, *(f"hf:{name}/set:python" for name in REFUSALS))
    assert unknown.startswith("WrongInput the hub has no set 'unknown/set'")
    assert private.startswith("WrongInput the hub has no set") and "HF_TOKEN" in private
    assert gated.startswith("WrongInput the set 'gated/set' is gated") and "HF_TOKEN" in gated
    assert broken.startswith("SourceUnavailable 'broken/set' cannot be reached")


def test_a_stream_goes_on_behind_the_row_it_noted(folder: Callable[..., Path]) -> None:
    stream = HubStream(f"hf:{folder(train=[{'q': str(n)} for n in range(5)])}")
    assert stream.columns in (None, ["q"])
    notes = [(json.loads(json.dumps(state)), row) for state, row in stream.rows()]
    values = [row.value["q"] for _, row in notes if isinstance(row, FileRow)]
    assert values == list("01234")
    for number, (state, _) in enumerate(notes):
        rest = [row.value["q"] for _, row in stream.rows(state) if isinstance(row, FileRow)]
        assert rest == values[number + 1 :]


def test_no_token_is_repeated_from_a_message_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "my-own-secret")
    line = plain_line(OSError(f"refused my-own-secret and {OTHER_TOKEN}\nsecond line"))
    assert line == "refused *** and ***"
