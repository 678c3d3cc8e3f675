"""`python -m curation generate` as a process: two at once, Ctrl-C, a full disk, and a key that must be found
nowhere."""

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation.generate import generate
from tests.browser.driving import wait_for
from tests.faults import ROOT, database_copy, environment, query
from tests.generating import Generating
from tests.loopback_teacher import (
    Fault,
    finished,
    hang,
    insufficient_quota,
    loopback_teacher,
    rate_limited,
    redirect,
    refusal,
    server_error,
    unauthorised,
)
from tests.made_up_seeds import in_sections
from tests.workspaces import CommandLine

LIMIT = 120.0  # seconds that a command may take on a busy machine


def words_of(generating: Generating) -> list[str]:
    url = generating.teacher.base_url
    return ["generate", "--model", "loopback", "--sort", "harvest", "--base-url", url]


class Command:
    """`generate`, as a person starts it."""

    def __init__(self, generating: Generating, *words: str, fault: str | None = None, **more: str) -> None:
        self.arguments = [
            sys.executable, "-m", "curation", *words_of(generating), "--workspace",
            str(generating.workspace.folder), "--json", *words,
        ]  # fmt: skip
        self.workspace = generating.workspace.folder
        ours = {"OPENAI_BASE_URL": generating.teacher.base_url, **more}
        self.process = subprocess.Popen(
            self.arguments, cwd=ROOT, env=environment(fault) | ours, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ends(self, status: int = 0) -> dict[str, Any]:
        """Wait for its end. Gives its report when it was done."""
        self.out, self.err = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == status, self.err
        return json.loads(self.out.splitlines()[-1]) if status == 0 else {}


@pytest.fixture
def start(generating: Generating) -> Iterator[Callable[..., Command]]:
    """Start commands; what still runs at the end of a test is killed."""
    started: list[Command] = []

    def one(*words: str, **more: Any) -> Command:
        started.append(Command(generating, *words, **more))
        return started[-1]

    yield one
    for command in started:
        with suppress(ProcessLookupError):
            command.process.kill()
        command.process.communicate()


def hits(generating: Generating) -> Counter[str]:
    """Count the requests by their prompts."""
    return Counter(str(one.prompt_hash) for one in generating.teacher.completions)


def test_a_second_start_attaches_to_the_first_and_asks_nothing(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.delay = 0.15
    first = start("--limit", "30", "--concurrency", "2")
    wait_for(lambda: generating.teacher.hits >= 2)
    shown: list[str] = []
    settings = generating.settings(limit=30, concurrency=2)
    second = generate(generating.workspace, settings, None, lambda what, done, total: shown.append(what))
    report = first.ends()

    assert second.attached and shown[0].startswith(
        f"attached to process {first.process.pid}, which is running"
    )
    assert second.report["kept"] == report["kept"] == 30
    assert hits(generating).total() == 30 and len(generating.samples()) == 30


def test_two_starts_in_the_same_moment_ask_everything_once(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.delay = 0.05
    commands = [start("--limit", "20") for _ in range(2)]
    reports = [one.ends() for one in commands]
    assert [one["kept"] for one in reports] == [20, 20]
    assert hits(generating).total() == 20 and sum(one["attached"] for one in reports) <= 1


def test_two_names_in_the_same_moment_pay_for_each_call_once(
    generating: Generating, start: Callable[..., Command]
) -> None:
    """They are generations of their own with the same calls: each was sent by both."""
    generating.teacher.delay = 0.1
    commands = [start("--limit", "20", "--concurrency", "4", "--name", name) for name in ("one", "two")]
    reports = [one.ends() for one in commands]
    assert [one["kept"] for one in reports] == [20, 20]
    assert set(hits(generating).values()) == {1} and len(generating.samples()) == 20
    assert sorted(one["calls"] for one in reports) == [0, 20]
    assert sum(one["tokens"] for one in reports) == generating.teacher.billed


def test_who_waits_for_another_run_can_be_stopped_and_a_kill_frees_the_other(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.delay = 0.3
    first = start("--limit", "60", "--concurrency", "2", "--name", "one")
    wait_for(lambda: generating.teacher.hits >= 2)
    second = start("--limit", "60", "--concurrency", "2", "--name", "two")
    waiting = "SELECT count(*) FROM stage_run WHERE progress_what LIKE 'waiting for another run %'"
    wait_for(lambda: generating.query(waiting) == [(1,)])
    second.process.send_signal(signal.SIGINT)
    second.ends(status=1)
    third = start("--limit", "10", "--concurrency", "2", "--name", "two")
    first.process.kill()
    first.process.wait()
    assert third.ends()["kept"] == 10


def test_ctrl_c_ends_the_command_and_what_flew_is_kept(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.delay = 0.3
    command = start("--limit", "40", "--concurrency", "4")
    wait_for(lambda: generating.teacher.hits >= 6)
    command.process.send_signal(signal.SIGINT)
    command.ends(status=1)

    assert command.out == ""
    assert command.err.splitlines()[-1] == (
        "winnow: Stopped; what was finished is kept, run the same command to go on"
    )
    flew = generating.teacher.hits
    assert flew < 40 and len(generating.samples()) == flew
    generating.check_store()

    generating.teacher.delay = 0.0
    assert start("--limit", "40", "--concurrency", "4").ends()["kept"] == 40
    assert set(hits(generating).values()) == {1} and len(hits(generating)) == 40


def test_ctrl_c_ends_a_run_that_waits_for_an_hour(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.faults = lambda index, name: rate_limited(3_600)
    command = start("--limit", "5")
    progress = "SELECT progress_what FROM stage_run"
    wait_for(lambda: "waiting 3,5" in str(query(generating.workspace.folder, progress)))  # for who watches
    command.process.send_signal(signal.SIGINT)
    command.ends(status=1)
    assert "Stopped; what was finished is kept" in command.err


def test_a_full_disk_loses_nothing_that_was_answered_and_kept(
    generating: Generating, start: Callable[..., Command]
) -> None:
    generating.teacher.delay = 0.02
    failed = start("--limit", "40", "--concurrency", "4", fault="store.commit:enospc:12")
    failed.ends(status=1)
    assert "No space left on device" in failed.err and "nothing acknowledged was lost" in failed.err
    kept = {one.id for one in generating.samples()}
    assert start("--limit", "40", "--concurrency", "4").ends()["kept"] == 40
    generating.check_store()
    assert kept <= {one.id for one in generating.samples()}
    assert len(hits(generating)) == 40 and hits(generating).total() <= 40 + 4


def test_a_budget_that_is_used_up_is_no_error_and_says_how_to_go_on(
    generating: Generating, cli: CommandLine
) -> None:
    ran = cli(*words_of(generating), "--limit", "10", "--budget-tokens", "5000", "--concurrency", "2")
    assert ran.status == 0 and ran.report["waiting"] > 0 and ran.report["tokens"] <= 5_000
    assert f"winnow: note: {ran.report['paused']}" in ran.err and "Raise it, then go on" in ran.err


# --- a key is found nowhere (S27) ---

KEY = "sk-canary-Zq7Xw2Vb9Lm4Tr6Yp1Kd8Hs3"
ECHO = json.dumps({"error": {"message": "wrong key {key} of {key}", "type": "x", "code": "x"}})
IN_A_REPLY = "[Problem Description]\\nUse the key {key} to sign.\\n[Solution]\\nsign('{key}', x)"
COMPLETION = (
    '{"choices": [{"message": {"content": "%s", "refusal": %s}, "finish_reason": "%s"}],'
    ' "usage": {"prompt_tokens": 9, "completion_tokens": 9}}'
)
ESCAPED = "\\u0073" + KEY[1:]  # as JSON may write it, and reads it
ONCE: list[Fault] = [  # each hits one call, which is asked again or is final
    Fault("400", 400, ECHO),
    Fault("422", 422, '{"detail": [{"input": "Bearer {key}"}]}'),
    replace(rate_limited(0.05), body=ECHO),
    replace(server_error(500), body=ECHO, retry_after=0.05),
    replace(server_error(503), body="<html>{key}</html>", content_type="text/html", retry_after=0.05),
    Fault("page", 200, "<html>signed in as {key}</html>", "text/html"),
    Fault("no choices", 200, '{"key": "{key}"}'),
    Fault("in a reply", 200, COMPLETION % (IN_A_REPLY, "null", "stop")),
    Fault("escaped in a reply", 200, COMPLETION % (IN_A_REPLY.replace("{key}", ESCAPED), "null", "stop")),
    Fault("in a refusal", 200, COMPLETION % ("", '"no {key}"', "stop")),
    Fault("in an end", 200, COMPLETION % ("x", "null", "{key}")),
    Fault("cut short", 200, COMPLETION % (IN_A_REPLY * 3, "null", "stop"), way="cut"),
    hang(),
    finished("length"),
    refusal("no"),
]  # fmt: skip
PAUSING: list[Fault] = [  # each ends a run
    unauthorised(),
    Fault("403", 403, ECHO),
    Fault("404", 404, ECHO),
    replace(insufficient_quota(), body=ECHO.replace('"code": "x"', '"code": "insufficient_quota"')),
    redirect(f"http://127.0.0.1:9/{KEY}"),
    Fault("redirect", 308, "{key}", headers=(("Location", f"http://u:{KEY}@x.test/?key={KEY}"),)),
]  # fmt: skip


def test_a_canary_key_goes_through_every_error_and_is_found_nowhere(
    generating: Generating, start: Callable[..., Command], cli: CommandLine, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Workspace, logs, export, backup, standard output and error; compressed texts unpacked."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", generating.teacher.base_url)
    said = errors_that_pause(generating, cli) + errors_of_one_run(generating, start) + nobody_there(start)
    export, archive = tmp_path / "export", tmp_path / "backup.tar.gz"
    for words in (
        ("clean",), ("assemble", "v1"), ("export", "v1", "--format", "messages", "--to", export),
        ("backup", archive), ("status",),
    ):  # fmt: skip
        ran = cli(*words)
        assert ran.status == 0
        said += ran.out + ran.err

    pieces = [KEY[at : at + 8].encode() for at in range(len(KEY) - 7)]
    places = {"what was said": said.encode(), "backup": gzip.decompress(archive.read_bytes())}
    places |= {str(file): file.read_bytes() for folder in (generating.workspace.folder, export)
               for file in folder.rglob("*") if file.is_file()}  # fmt: skip
    places |= {f"{name} {at}": blob for name, blobs in unpacked(generating.workspace.folder).items()
               for at, blob in enumerate(blobs)}  # fmt: skip
    assert [name for name, found in places.items() if any(one in found for one in pieces)] == []
    # It did go there, and back: what was looked for could have been found.
    assert all(f"Bearer {KEY}" == one.headers["authorization"] for one in generating.teacher.completions)
    assert sum(b"[key]" in found for found in places.values()) >= 8
    assert any(b"sign('[key]', x)" in file.read_bytes() for file in export.iterdir())


def errors_that_pause(generating: Generating, cli: CommandLine) -> str:
    """Let a run meet each error that ends it. Gives all that its commands said."""
    said = ""
    for fault in PAUSING:
        generating.teacher.faults = lambda index, name, fault=fault: fault
        ran = cli(*words_of(generating), "--limit", "2")
        assert ran.report["paused"] and ran.report["waiting"] == 2, fault.name
        said += ran.out + ran.err
    return said


# The client itself is asked to log all that it does.
TALKING = {"OPENAI_API_KEY": KEY, "OPENAI_LOG": "debug"}


def errors_of_one_run(generating: Generating, start: Callable[..., Command]) -> str:
    met: dict[str, Fault] = {}

    def plan(index: int, name: str) -> Fault | None:
        if name in met or len(met) == len(ONCE):
            return None
        met[name] = ONCE[len(met)]
        return met[name]

    generating.teacher.faults = plan
    command = start("--limit", "40", "--concurrency", "8", "--deadline", "2", **TALKING)
    report = command.ends()
    assert len(met) == len(ONCE) and (report["waiting"], report["paused"]) == (0, None)
    assert "DEBUG" in command.err  # it did log
    return command.out + command.err


def nobody_there(start: Callable[..., Command]) -> str:
    with loopback_teacher(in_sections) as gone:
        pass
    command = start("--limit", "2", "--base-url", gone.base_url, OPENAI_BASE_URL=gone.base_url, **TALKING)
    lost = "SELECT count(*) FROM teacher_call WHERE reason = 'unreachable'"
    wait_for(lambda: query(command.workspace, lost) != [(0,)])
    command.process.send_signal(signal.SIGINT)
    command.ends(status=1)
    return command.out + command.err


def unpacked(workspace: Path) -> dict[str, list[bytes]]:
    """Give every compressed value of the database as it was before."""
    found: dict[str, list[bytes]] = {}
    with database_copy(workspace) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            with suppress(sqlite3.Error):  # the insides of a search index
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        with suppress(zlib.error, TypeError):
                            found.setdefault(table, []).append(zlib.decompress(value))
    assert len(found["teacher_call"]) > 40
    return found


def test_the_key_of_the_environment_goes_to_its_own_host_and_to_no_other(
    generating: Generating, start: Callable[..., Command]
) -> None:
    """S28."""
    with loopback_teacher(in_sections) as other:
        command = start("--limit", "2", "--base-url", other.base_url, OPENAI_API_KEY=KEY)
        assert command.ends()["kept"] == 2
        assert ["authorization" in one.headers for one in other.completions] == [False, False]
    assert "OPENAI_API_KEY belongs to " in command.err and KEY not in command.err
    assert generating.teacher.requests == [] and os.environ.get("OPENAI_API_KEY") != KEY
