"""Jobs in real processes: each kind, every death, and the truth told meanwhile (faults.md F29, F30, F57).

"Worker" and "child" are real processes, killed by their ids; results are compared with those of the command
line on the same rows. Nothing is timed: each wait ends with a state, or fails with the job and its logs.
"""

import base64
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine

import jobs
from curation import example as example_step
from curation import pair_settings
from curation.embedding import SentenceEmbedder
from curation.errors import DamagedWorkspace, SourceUnavailable, WrongInput
from curation.workspace import Workspace
from jobs import steps
from jobs.child import Child, died_of
from jobs.database import EXECUTOR, plain_errors
from jobs.keys import environment as environment_of
from jobs.worker import LOOK_SECONDS, Pace
from tests.faults import (
    ROOT,
    assert_clean,
    assert_equal_facts,
    environment,
    facts,
    finish,
    keep_made_up_vectors,
    make_rows,
    query,
    write_rows,
)
from tests.workspaces import CommandLine

RANDOM_SEED = 83
PATIENCE = 120.0  # seconds until a test gives up on a busy machine
FEW, MANY = 400, 36_000  # MANY rows take seconds to import: time enough to be killed in
PASSING = ("seconds", "unchanged", "attached", "new", "rate")  # what a report says of one run only


# --- driving ---


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A workspace whose worker is stopped when the test is over."""
    place = tmp_path / "workspace"
    place.mkdir()
    yield place
    if jobs.worker_alive(place):
        for one in jobs.active(place):
            jobs.cancel(place, one.id)
        assert jobs.stop(place) == 0


def until(workspace: Path, job_id: str, wanted: Callable[[jobs.Job], bool]) -> jobs.Job:
    """Wait until a job is as wanted. Fails at once when it ended otherwise."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = jobs.job(workspace, job_id)
        assert found is not None
        if wanted(found):
            return found
        logs = (workspace / "logs" / "worker.log").read_text() + jobs.log_tail(workspace, job_id)
        assert found.state not in ("done", "failed", "cancelled"), (found, logs)
        assert time.monotonic() < deadline, (found, logs)
        time.sleep(0.02)


def ended(workspace: Path, job_id: str, state: str = "done") -> jobs.Job:
    return until(workspace, job_id, lambda one: one.state == state)


def mid_work(workspace: Path, job_id: str) -> jobs.Job:
    """Wait until a job has done some of its work, and is not through."""
    return until(workspace, job_id, lambda one: one.state == "running" and one.done > 0)


def worker_of(workspace: Path) -> psutil.Process:
    return psutil.Process(int((workspace / jobs.WORKER_LOCK).read_text().split()[0]))


def child_of(workspace: Path) -> psutil.Process:
    (child,) = worker_of(workspace).children()
    return child


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment(), capture_output=True, text=True,
        timeout=PATIENCE,
    )  # fmt: skip


def lasting(report: dict[str, Any] | None) -> dict[str, Any]:
    assert report is not None
    return {key: value for key, value in report.items() if key not in PASSING}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A file whose import takes seconds, and what the command line makes of it."""
    place = tmp_path_factory.mktemp("many")
    file = write_rows(make_rows(MANY, RANDOM_SEED), place / "rows.jsonl")
    finish(place / "workspace", "samples", "import", str(file))
    return file, facts(place / "workspace")


# --- what each step comes to ---


def benchmark_of(rows: list[dict[str, Any]], file: Path) -> Path:
    """Write a benchmark whose two items are rows of the set: their vectors are there already."""
    chosen = [row for row in rows if row.get("input") == ""][:2]
    items = [
        {"task_id": n, "prompt": row["instruction"], "canonical_solution": row["output"]}
        for n, row in enumerate(chosen)
    ]
    return write_rows(items, file)


def test_each_step_does_what_the_command_line_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six steps in a row, by jobs in one workspace and by commands in another; then wrong settings."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key-5309")
    rows = make_rows(FEW, RANDOM_SEED)
    file = write_rows(rows, tmp_path / "rows.jsonl")
    benchmark = f"humaneval={benchmark_of(rows, tmp_path / 'items.jsonl')}"
    other = tmp_path / "other"
    command = CommandLine(other, capsys)
    for place in (folder, other):
        keep_made_up_vectors(rows, place, RANDOM_SEED)
    to, other_to = tmp_path / "export", tmp_path / "other-export"
    steps: list[tuple[str, dict[str, Any], list[str]]] = [
        ("import", {"file": str(file), "name": "set"}, ["samples", "import", str(file), "--name", "set"]),
        ("clean", {"rule": "platypus"}, ["clean"]),
        ("near-duplicates", {"threshold": 0.75}, ["near-duplicates", "--threshold", "0.75"]),
        ("decontaminate", {"benchmarks": [benchmark]}, ["decontaminate", "--benchmark", benchmark]),
        ("assemble", {"name": "v1", "open_cases": "drop"}, ["assemble", "v1", "--open", "drop"]),
        ("export", {"name": "v1", "format": "alpaca", "to": str(to)},
         ["export", "v1", "--format", "alpaca", "--to", str(other_to)]),
    ]  # fmt: skip
    for step, settings, words in steps:
        done = ended(folder, jobs.start(folder, step, settings).id)
        by_command = lasting(command.done(*words))
        for one in (by_command, done.report or {}):
            one.pop("to", None)
        # Warnings stand in the report of one command only; a job has them beside its report.
        warnings = by_command.pop("warnings", [])
        assert lasting(done.report) == by_command, step
        assert set(warnings) <= set(done.warnings)
    assert_equal_facts(facts(folder), facts(other))
    assert {f.name: f.read_bytes() for f in to.iterdir()} == {
        f.name: f.read_bytes() for f in other_to.iterdir()
    }
    assert_clean(folder)
    assert [one.title for one in jobs.jobs(folder)] == [
        "Export v1 as alpaca", "Freeze v1", "Compare with humaneval", "Find near-duplicates",
        "Drop exact duplicates", "Import rows.jsonl",
    ]  # fmt: skip
    times = [(one.created_at, one.started_at, one.finished_at) for one in jobs.jobs(folder)]
    assert all(began and made <= began <= ended for made, began, ended in times), times  # type: ignore[operator]
    wrong_settings_fail_with_their_message(folder)
    no_pickle_and_no_key_is_kept(folder)


def wrong_settings_fail_with_their_message(folder: Path) -> None:
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("clean", {"rule": "best"}, "There is no rule 'best'; choose one of platypus, magicoder"),
        ("clean", {"rules": "platypus"}, "clean has no setting 'rules'; it has rule"),
        ("import", {}, "import needs the setting 'file'"),
        ("near-duplicates", {"preset": "paper", "budget": 3},
         "--preset paper fixes --threshold, --keep, --sources, --budget and --ask; leave them out"),
    ]  # fmt: skip
    started = [jobs.start(folder, step, settings) for step, settings, _ in wrong]
    for one, (_, _, message) in zip(started, wrong, strict=True):
        assert ended(folder, one.id, "failed").message == message
    with pytest.raises(WrongInput, match="There is no step 'cleen'; choose one of example, import"):
        jobs.start(folder, "cleen", {})
    with pytest.raises(WrongInput, match="are not what JSON can say"):
        jobs.start(folder, "clean", {"rule": object()})


def no_pickle_and_no_key_is_kept(folder: Path) -> None:
    with closing(sqlite3.connect(folder / jobs.DATABASE)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        values = [
            value for name in names for row in connection.execute(f"SELECT * FROM {name}") for value in row
        ]
        kinds = connection.execute("SELECT DISTINCT serialization FROM workflow_status").fetchall()
        events = connection.execute("SELECT count(*) FROM workflow_events_history").fetchone()
    assert kinds == [("winnow_json",)]
    assert events == (len(jobs.jobs(folder)),), "progress must not pile up: one row a job"
    marks = (
        b"\x80\x04",
        b"\x80\x05",
        base64.b64encode(b"\x80\x04\x95")[:4],
        base64.b64encode(b"\x80\x05\x95")[:4],
    )
    for value in values:
        raw = value if isinstance(value, bytes) else str(value).encode()
        assert not raw.startswith(marks), value
    for file in folder.rglob("*"):
        assert not file.is_file() or b"canary-key-5309" not in file.read_bytes(), file


def test_the_example_as_a_job(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of 40 functions, made here with made-up vectors and then by a job from the same vectors."""
    import numpy as np

    def embed_batch(self: SentenceEmbedder, texts: list[str]) -> Any:
        noise = np.random.default_rng(RANDOM_SEED)
        drawn = noise.standard_normal((len(texts), 384)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    monkeypatch.setattr(SentenceEmbedder, "embed_batch", embed_batch)
    monkeypatch.setattr(SentenceEmbedder, "pieces", lambda self, texts: [9] * len(texts))
    items = [{"task_id": 1, "prompt": "reverse a list", "canonical_solution": "return x[::-1]"}]
    benchmark = f"humaneval={write_rows(items, tmp_path / 'items.jsonl')}"
    other = Workspace(tmp_path / "other")
    wanted = example_step.example(other, 40, benchmark=benchmark)
    shutil.copytree(other.embeddings, folder / "embeddings")
    started = jobs.start(folder, "example", {"rows": 40, "benchmark": benchmark})
    assert lasting(ended(folder, started.id).report) == lasting(wanted.report)
    assert_equal_facts(facts(folder), facts(other.folder))


# --- deaths ---


def test_dead_and_stopped_workers_are_followed_by_another_one(
    folder: Path, many: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """One import of 36,000 rows: kill -9 of its worker, then `make stop`, then an app looks after it."""
    file, wanted = many
    begun = mid_work(folder, jobs.start(folder, "import", {"file": str(file)}).id)
    worker, child = worker_of(folder), child_of(folder)
    worker.kill()
    wait_for(lambda: not jobs.worker_alive(folder))
    told = jobs.job(folder, begun.id)
    assert told is not None and told.state == "interrupted" and "goes on" in told.message
    assert told.rate is None and [one.id for one in jobs.active(folder)] == [begun.id]
    wait_for(lambda: gone(child))  # it must not work on beside the next one
    jobs.after(folder)
    assert "Not running" in capsys.readouterr().out

    assert jobs.resume(folder, begun.id).state == "interrupted"  # until the new worker has it
    assert mid_work(folder, begun.id).started_at == begun.started_at
    child = child_of(folder)
    jobs.after(folder)
    said = capsys.readouterr().out
    assert said.startswith("'Import rows.jsonl' goes on in the background") and "`make stop`" in said
    assert jobs.stop(folder) == 0
    said = capsys.readouterr().out
    assert "The worker is stopped. 'Import rows.jsonl' will go on at the next `make run`" in said
    assert gone(child) and not jobs.worker_alive(folder)
    assert [one.state for one in jobs.active(folder)] == ["interrupted"]

    jobs.keep_worker(folder, every=0.1)
    ended(folder, begun.id)
    assert_equal_facts(facts(folder), wanted)
    assert_clean(folder)
    assert [one.id for one in jobs.jobs(folder)] == [begun.id]
    states = query(folder, "SELECT state FROM stage_run ORDER BY id")
    assert states == [("interrupted",), ("cancelled",), ("done",)]


def test_training_keeps_no_stage_waiting(folder: Path, many: tuple[Path, dict[str, Any]]) -> None:
    """One job of each queue at a time: a stage runs beside a training job, a second stage waits."""
    training = jobs.start(folder, "practice-base", {})
    assert jobs.start(folder, "practice-base", {}).id == training.id  # two clicks
    until(folder, training.id, lambda one: one.state == "running")

    first = jobs.start(folder, "import", {"file": str(many[0])})
    second = jobs.start(folder, "clean", {})
    mid_work(folder, first.id)
    told = {one.id: one.state for one in jobs.jobs(folder)}
    assert told == {training.id: "running", first.id: "running", second.id: "queued"}
    ended(folder, second.id)

    assert jobs.cancel(folder, training.id).state in ("cancelling", "cancelled")
    ended(folder, training.id, "cancelled")
    # On a busy machine a stop can take more than its ten seconds and be a kill: the next start clears that.
    left = {one.name for one in (folder / "models").iterdir() if one.is_dir()}
    assert left <= {"practice.partial"}, "half a base has its name"


def test_killed_child_then_cancel_then_resume(folder: Path, many: tuple[Path, dict[str, Any]]) -> None:
    """The child dies (failed, with the signal), its successor is cancelled, and the next one finishes."""
    file, wanted = many
    first = mid_work(folder, jobs.start(folder, "import", {"file": str(file)}).id)
    child_of(folder).kill()
    failed = ended(folder, first.id, "failed")
    assert "signal 9 (SIGKILL)" in failed.message and "resume" in failed.message
    second = mid_work(folder, jobs.resume(folder, first.id).id)
    assert second.id != first.id and second.settings == first.settings
    child = child_of(folder)
    waiting = jobs.start(folder, "clean", {})
    assert [one.id for one in jobs.active(folder)] == [second.id, waiting.id]
    assert jobs.cancel(folder, second.id).state in ("cancelling", "cancelled")
    assert jobs.cancel(folder, waiting.id).state == "cancelled"
    cancelled = ended(folder, second.id, "cancelled")
    assert gone(child) and cancelled.done > 0 and "resume" in cancelled.message
    states = query(folder, "SELECT state FROM stage_run ORDER BY id")
    assert states == [("interrupted",), ("cancelled",)]  # SIGINT, so the stage itself could say so
    third = jobs.resume(folder, second.id)
    assert jobs.cancel(folder, first.id).state == "failed"  # too late: nothing changes
    done = ended(folder, third.id)
    assert done.report is not None and 0 < done.report["new"] < MANY  # it only did what was missing
    assert_equal_facts(facts(folder), wanted)
    assert jobs.resume(folder, third.id).state == "done"
    assert jobs.log_tail(folder, waiting.id) == "", "cancelled while it waited, so it never starts"


# --- one of each ---

START = "import jobs, sys; from pathlib import Path; print(jobs.start(Path(sys.argv[1]), 'clean', {}).id)"
APP = (
    "import jobs, sys, time; from pathlib import Path;"
    "folder = Path(sys.argv[1]); jobs.hold_app_lock(folder);"
    "jobs.start(folder, 'import', {'file': sys.argv[2]}) if len(sys.argv) > 2 else 0;"
    "print('ready', flush=True); time.sleep(600)"
)


def test_starting_twice_at_once_makes_one_job_and_one_worker(folder: Path) -> None:
    """Four processes press the button in a workspace that has no queue yet."""
    started = [
        subprocess.Popen([sys.executable, "-c", START, str(folder)], cwd=ROOT, env=environment(),
                         stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]  # fmt: skip
    ids = {process.communicate(timeout=PATIENCE)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(ids) == 1 and "" not in ids
    (one,) = jobs.jobs(folder)
    assert "no samples" in ended(folder, one.id, "failed").message
    second = call("-m", "jobs", "work", "--workspace", str(folder))
    assert (second.returncode, second.stdout) == (0, f"A worker of {folder} runs already\n")
    assert (folder / "logs" / "worker.log").read_text().count("is ready") == 1


def app_of(folder: Path, *file: str) -> "subprocess.Popen[bytes]":
    app = subprocess.Popen(
        [sys.executable, "-c", APP, str(folder), *file], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    )
    assert app.stdout is not None and app.stdout.readline() == b"ready\n"
    return app


def test_apps_may_die_and_a_worker_nobody_needs_ends(
    folder: Path, many: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two apps: one is killed in the middle of its job, which finishes; the worker ends after the other."""
    file, wanted = many
    other = app_of(folder)
    worker = subprocess.Popen(
        [sys.executable, "-m", "jobs", "work", "--idle", "0.1", "--workspace", str(folder)],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    wait_for(lambda: jobs.worker_alive(folder))
    app = app_of(folder, str(file))
    (one,) = jobs.jobs(folder)
    mid_work(folder, one.id)
    app.kill()
    app.communicate()
    ended(folder, one.id)
    assert_equal_facts(facts(folder), wanted)
    with suppress(subprocess.TimeoutExpired):
        worker.wait(4 * LOOK_SECONDS)
    assert worker.poll() is None, "an app lives"
    other.kill()
    other.communicate()
    assert worker.communicate(timeout=PATIENCE) == (b"", None)  # silent, and over
    assert worker.returncode == 0
    assert jobs.after(folder) == 0 and capsys.readouterr().out == ""


# --- who has the key ---


def test_only_a_step_that_asks_a_teacher_is_given_its_key(
    folder: Path, many: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has it, its import has not, as the system says of both (S31); a teacher's step has it."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-key-5309")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "canary-admin-5309")
    begun = mid_work(folder, jobs.start(folder, "import", {"file": str(many[0])}).id)
    worker, child = worker_of(folder), child_of(folder)
    assert worker.environ()["OPENAI_API_KEY"] == "canary-key-5309"
    assert "canary-admin" not in str(worker.environ()), "that one is bound to no address"
    assert child.environ()["PATH"] == worker.environ()["PATH"], "the rest is there"
    assert "canary" not in str([child.environ(), child.cmdline(), worker.cmdline()])
    jobs.cancel(folder, begun.id)
    asking = Child(folder, "asking", "generate", {})
    asking._process.send_signal(signal.SIGSTOP)  # before it says that these settings are no good
    told = psutil.Process(asking._process.pid).environ()
    asking._process.send_signal(signal.SIGCONT)
    assert told["OPENAI_API_KEY"] == "canary-key-5309" and "canary-admin" not in str(told)
    assert asking.outcome()["kind"] == "WrongInput"
    for step in (*jobs.STEPS, ""):
        assert ("canary-key-5309" in environment_of(step).values()) == (step in jobs.NEEDS_TEACHER), step
    ended(folder, begun.id, "cancelled")
    for file in folder.rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes(), file


def test_what_a_job_says_holds_no_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose error repeats a key of its own process, as a teacher's words would (F25)."""
    monkeypatch.setenv("HF_TOKEN", "hf_canary5309canary")
    failed = ended(folder, jobs.start(folder, "clean", {"rule": "hf_canary5309canary"}).id, "failed")
    assert failed.message == "There is no rule '[key]'; choose one of platypus, magicoder"
    assert "canary" not in jobs.log_tail(folder, failed.id) + (folder / "logs" / "worker.log").read_text()


# --- a workspace from somebody else ---


class Trap:
    """Runs a command when it is read as a pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_pickles_in_the_queue_are_never_read(folder: Path, tmp_path: Path) -> None:
    """Rows that say they are pickles: as settings, result, error and progress; read by page and worker."""
    import pickle

    trap = base64.b64encode(pickle.dumps(Trap(tmp_path / "sprung"))).decode()
    jobs.ensure_worker(folder)
    first = jobs.start(folder, "clean", {})
    ended(folder, first.id, "failed")
    assert jobs.stop(folder) == 0
    with closing(sqlite3.connect(folder / jobs.DATABASE)) as connection:
        connection.execute(
            "UPDATE workflow_status SET output = ?, error = ?, serialization = 'py_pickle'", [trap] * 2
        )
        connection.execute("UPDATE workflow_input SET inputs = ?", [trap])
        connection.execute("UPDATE workflow_output SET output = ?, error = ?", [trap] * 2)
        connection.execute("UPDATE operation_outputs SET output = ?, serialization = 'py_pickle'", [trap])
        connection.execute("UPDATE workflow_events SET value = ?, serialization = 'py_pickle'", [trap])
        connection.execute("UPDATE workflow_status SET status = 'PENDING', executor_id = ?", [EXECUTOR])
        connection.commit()
    (told,) = jobs.jobs(folder)
    assert (told.step, told.state) == ("?", "interrupted")
    second = jobs.start(folder, "clean", {"rule": "magicoder"})
    ended(folder, second.id, "failed")  # there are no samples; the other row does not stand in the way
    assert not (tmp_path / "sprung").exists()
    assert [one.step for one in jobs.jobs(folder)] == ["clean", "?"]


def test_a_queue_that_is_taken_away_begins_anew(folder: Path, tmp_path: Path) -> None:
    """The worker lets go of the file it had; else a job that came later would wait for ever."""
    file = write_rows(make_rows(20, RANDOM_SEED), tmp_path / "rows.jsonl")
    ended(folder, jobs.start(folder, "import", {"file": str(file)}).id)
    worker = worker_of(folder)
    for name in (jobs.DATABASE, f"{jobs.DATABASE}-wal", f"{jobs.DATABASE}-shm"):
        (folder / name).unlink(missing_ok=True)
    wait_for(lambda: gone(worker))
    again = jobs.start(folder, "clean", {})
    ended(folder, again.id)
    assert [job.id for job in jobs.jobs(folder)] == [again.id]


def test_a_damaged_queue_is_told(folder: Path) -> None:
    database = folder / jobs.DATABASE
    database.write_bytes(b"\xff" * 4096)
    for ask in (lambda: jobs.jobs(folder), lambda: jobs.start(folder, "clean", {})):
        with pytest.raises(DamagedWorkspace, match=f"{jobs.DATABASE} is not a sound database.*move it away"):
            ask()
    database.unlink()
    assert jobs.jobs(folder) == []


def test_a_queue_without_room_is_told(folder: Path) -> None:
    """A database that may not grow answers as on a full disk (F42)."""
    with (
        pytest.raises(SourceUnavailable, match="full; nothing acknowledged was lost"),
        plain_errors(folder / jobs.DATABASE),
        create_engine(f"sqlite:///{folder / 'small.sqlite'}").begin() as connection,
    ):
        connection.exec_driver_sql("PRAGMA max_page_count = 2")
        connection.exec_driver_sql("CREATE TABLE wide AS SELECT zeroblob(100000)")


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    """A page that lists the jobs of a workspace without any makes no database, and does not load DBOS."""
    program = (
        "import jobs, sys; from pathlib import Path; folder = Path(sys.argv[1]);"
        "print(jobs.jobs(folder), jobs.job(folder, 'x'), jobs.log_tail(folder, '../../x'));"
        "print('dbos' in sys.modules)"
    )
    assert call("-c", program, str(tmp_path)).stdout == "[] None \nFalse\n"
    assert list(tmp_path.iterdir()) == []
    assert call("-m", "jobs", "stop", "--workspace", str(tmp_path)).stdout == "No worker runs.\n"


def test_the_rate_is_that_of_the_last_twenty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 units in 10 s, then 1,000 in 20 s, then another phase: 10/s, 50/s, unknown."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace = Pace()
    told = []
    for now[0], what, done in ((0, "a", 0), (10, "a", 100), (30, "a", 1100), (31, "b", 5), (32, "b", 5)):
        told.append(pace.measure(what, done, 2100))
    assert told == [(None, None), (10.0, 200.0), (50.0, 20.0), (None, None), (None, None)]


def test_the_signal_is_named() -> None:
    assert "status 3" in died_of(3)
    assert "signal 11 (SIGSEGV)" in died_of(-signal.SIGSEGV)
    assert "memory" in died_of(-signal.SIGKILL)


def test_the_job_knows_every_setting_that_a_person_may_choose() -> None:
    chosen = {field.name for field in fields(pair_settings.Settings)} - {"judged_to"}  # set by the run itself
    assert set(steps.NEAR) == chosen
