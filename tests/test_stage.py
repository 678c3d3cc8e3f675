"""A stage runs once at a time, not again for nothing, and its lock outlives no process."""

import gc
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
from sqlalchemy import select, text

from curation.errors import SourceUnavailable, StageCancelled, WrongInput
from curation.stage import Report, Stage, run_stage
from curation.store import database, runs
from curation.store.runs import Request
from curation.store.tables import stage_run
from curation.workspace import DATABASE, Workspace

SPAWN = multiprocessing.get_context("spawn")
WAIT = 120.0  # seconds another process may take to start on a busy machine


def request(input_hash: str = "rows", code: str = "1", **settings: Any) -> Request:
    return Request("sorting", settings, input_hash, code)


def noting(workspace: Workspace) -> Callable[[Stage], Report]:
    """Give work that leaves a line each time it is done."""

    def work(stage: Stage) -> Report:
        with (workspace.folder / "done").open("a") as file:
            file.write(f"{stage.run_id}\n")
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, {"rows": 3})
        return {"rows": 3}

    return work


def times_done(workspace: Workspace) -> int:
    return len((workspace.folder / "done").read_text().splitlines())


def states(workspace: Workspace) -> list[tuple[str, str | None]]:
    """Give state and message of every run, in order."""
    with closing(sqlite3.connect(workspace.folder / DATABASE)) as connection:
        return connection.execute("SELECT state, message FROM stage_run ORDER BY id").fetchall()


def locks(workspace: Workspace) -> int:
    with closing(sqlite3.connect(workspace.folder / DATABASE)) as connection:
        return int(connection.execute("SELECT count(*) FROM stage_lock").fetchone()[0])


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "w")
    yield made
    made.database.close()


def hold(folder: str, asked: Request, started: Event, go_on: Event) -> None:
    """In another process: run the stage, and do not finish before being told to."""
    workspace = Workspace(Path(folder))

    def work(stage: Stage) -> Report:
        stage.progress("half way", 1, 2)
        started.set()
        assert go_on.wait(WAIT)
        return noting(workspace)(stage)

    run_stage(workspace, asked, work)


def start_together(folder: str, asked: Request, together: Barrier, told: Any) -> None:
    """In another process: start the stage at the same moment as others."""
    workspace = Workspace(Path(folder))
    assert workspace.database
    together.wait(WAIT)
    result = run_stage(workspace, asked, noting(workspace))
    told.put((result.report, result.unchanged))


class Holder:
    """A process that holds the lock of the stage."""

    def __init__(self, workspace: Workspace, asked: Request) -> None:
        self.started, self.go_on = SPAWN.Event(), SPAWN.Event()
        self.process: SpawnProcess = SPAWN.Process(
            target=hold, args=(str(workspace.folder), asked, self.started, self.go_on)
        )
        self.process.start()
        assert self.started.wait(WAIT)

    def kill(self) -> None:
        """Kill it as the system would: nobody has asked yet how it ended, so it stays a zombie."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        end = time.monotonic() + WAIT
        while psutil.Process(self.process.pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.fixture
def holder(workspace: Workspace) -> Iterator[Callable[[Request], Holder]]:
    held: list[Holder] = []

    def make(asked: Request) -> Holder:
        held.append(Holder(workspace, asked))
        return held[-1]

    yield make
    for one in held:
        one.process.kill()
        one.process.join(WAIT)


# --- not again for nothing ---


def test_the_same_request_twice_does_nothing_the_second_time(workspace: Workspace) -> None:
    first = run_stage(workspace, request(threshold=0.8), noting(workspace))
    second = run_stage(workspace, request(threshold=0.8), noting(workspace))

    assert not first.unchanged and second.unchanged
    assert (second.report, second.run_id) == (first.report, first.run_id) == ({"rows": 3}, 1)
    assert times_done(workspace) == 1


@pytest.mark.parametrize(
    "other", [request(threshold=0.9), request("other rows", threshold=0.8), request(code="2", threshold=0.8)]
)
def test_other_settings_rows_or_code_run_again(workspace: Workspace, other: Request) -> None:
    run_stage(workspace, request(threshold=0.8), noting(workspace))

    assert not run_stage(workspace, other, noting(workspace)).unchanged
    assert times_done(workspace) == 2
    assert not run_stage(workspace, request(threshold=0.8), noting(workspace)).unchanged, "one run is current"


def test_again_means_again(workspace: Workspace) -> None:
    run_stage(workspace, request(), noting(workspace))
    assert not run_stage(workspace, request(), noting(workspace), again=True).unchanged
    assert times_done(workspace) == 2


# --- once at a time ---


def test_a_second_start_attaches_shows_progress_and_does_no_work(
    workspace: Workspace, holder: Callable[[Request], Holder]
) -> None:
    first = holder(request())
    seen: list[tuple[str, int, int]] = []

    def show(what: str, done: int, total: int) -> None:
        seen.append((what, done, total))
        if "half way" in what:
            first.go_on.set()

    result = run_stage(workspace, request(), noting(workspace), show)

    assert result.attached and result.unchanged
    assert result.report == {"rows": 3}
    assert seen[0] == (f"attached to process {first.process.pid}, which is running sorting", 0, 0)
    assert (f"process {first.process.pid}: half way", 1, 2) in seen
    assert times_done(workspace) == 1
    assert states(workspace) == [("done", None)]


def test_of_four_starts_at_once_one_does_the_work(workspace: Workspace) -> None:
    assert workspace.database
    together, told = SPAWN.Barrier(4), SPAWN.Queue()
    processes = [
        SPAWN.Process(target=start_together, args=(str(workspace.folder), request(), together, told))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    results = [told.get(timeout=WAIT) for _ in processes]
    for process in processes:
        process.join(WAIT)

    assert [report for report, _ in results] == [{"rows": 3}] * 4
    assert sorted(unchanged for _, unchanged in results) == [False, True, True, True]
    assert times_done(workspace) == 1
    assert states(workspace) == [("done", None)]


def test_other_settings_wait_for_the_running_stage_and_then_run(
    workspace: Workspace, holder: Callable[[Request], Holder]
) -> None:
    first = holder(request(threshold=0.8))

    def show(what: str, done: int, total: int) -> None:
        if "half way" in what:
            first.go_on.set()

    result = run_stage(workspace, request(threshold=0.9), noting(workspace), show)

    assert result.attached and not result.unchanged
    assert times_done(workspace) == 2
    assert states(workspace) == [("done", None)] * 2
    current = runs.current(workspace.database, "sorting")
    assert current is not None and current.settings == {"threshold": 0.9}


def test_two_stages_do_not_wait_for_each_other(
    workspace: Workspace, holder: Callable[[Request], Holder]
) -> None:
    holder(request())
    other = Request("counting", {}, "rows", "1")
    assert not run_stage(workspace, other, noting(workspace)).attached


# --- the lock outlives no process ---


def test_the_lock_of_a_killed_process_is_taken_over(
    workspace: Workspace, holder: Callable[[Request], Holder]
) -> None:
    holder(request()).kill()
    assert locks(workspace) == 1
    assert runs.running(workspace.database) == []

    result = run_stage(workspace, request(), noting(workspace))

    assert not result.attached and not result.unchanged
    assert states(workspace) == [("interrupted", "the process was killed"), ("done", None)]
    assert locks(workspace) == 0


def test_who_watches_a_process_that_is_killed_does_the_work(
    workspace: Workspace, holder: Callable[[Request], Holder]
) -> None:
    first = holder(request())

    def show(what: str, done: int, total: int) -> None:
        if "half way" in what:
            first.kill()

    result = run_stage(workspace, request(), noting(workspace), show)

    assert result.attached and not result.unchanged
    assert times_done(workspace) == 1
    assert [state for state, _ in states(workspace)] == ["interrupted", "done"]


@pytest.mark.parametrize("change", ["process_started = process_started - 60", "host = 'another-machine'"])
def test_a_lock_of_another_owner_of_the_same_pid_counts_as_left(workspace: Workspace, change: str) -> None:
    run_id = runs.start(workspace.database, request()).run_id
    assert runs.start(workspace.database, request()).busy is not None, "this very process lives"
    with closing(sqlite3.connect(workspace.folder / DATABASE)) as connection:
        connection.execute(f"UPDATE stage_lock SET {change}")
        connection.commit()

    assert runs.running(workspace.database) == []
    assert runs.start(workspace.database, request()).run_id not in (None, run_id)
    assert [state for state, _ in states(workspace)] == ["interrupted", "running"]


def failing(error: BaseException) -> Callable[[Stage], Report]:
    def work(stage: Stage) -> Report:
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, {"rows": 3})
            raise error  # in the transaction: what it had written must go with it

    return work


@pytest.mark.parametrize(
    ("error", "raised", "state", "message"),
    [
        (RuntimeError("a mistake of ours"), RuntimeError, "failed", "RuntimeError"),
        (WrongInput("column x is missing"), WrongInput, "failed", "column x is missing"),
        (
            OSError(28, "No space left on device", "/f"),
            SourceUnavailable,
            "failed",
            "No space left on device",
        ),
        (KeyboardInterrupt(), StageCancelled, "cancelled", "stopped by the user"),
    ],
)
def test_work_that_stops_frees_the_lock_and_says_why(
    workspace: Workspace, error: BaseException, raised: type[BaseException], state: str, message: str
) -> None:
    with pytest.raises(raised):
        run_stage(workspace, request(), failing(error))

    ((found, why),) = states(workspace)
    assert found == state
    assert why is not None and message in why
    assert locks(workspace) == 0
    assert runs.current(workspace.database, "sorting") is None
    assert not run_stage(workspace, request(), noting(workspace)).unchanged


# --- Ctrl-C anywhere ---

COUNTING = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000)"


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Cycles stay: nothing may depend on the collector coming by in time."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace in which nobody waits a minute for the write lock: whoever waits at all has failed."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.2)
    made = Workspace(tmp_path / "hasty")
    yield made
    made.database.close()


def test_ctrl_c_while_sqlite_works_does_not_wait_for_its_own_lock(hasty: Workspace) -> None:
    """The signal comes inside a query: its cursor lives in the traceback, with the transaction's lock."""

    def work(stage: Stage) -> Report:
        with stage.finishing() as connection:
            runs.finish(connection, stage.run_id, {"rows": 3})
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            connection.execute(text(f"{COUNTING} SELECT count(*) FROM n")).all()
        return {}

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(StageCancelled):
            run_stage(hasty, request(), work)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (states(hasty), locks(hasty)) == ([("cancelled", "stopped by the user")], 0)


def test_ctrl_c_just_after_the_last_commit_leaves_the_run_done(workspace: Workspace) -> None:
    def work(stage: Stage) -> Report:
        noting(workspace)(stage)
        raise KeyboardInterrupt

    with pytest.raises(StageCancelled):
        run_stage(workspace, request(), work)
    assert states(workspace) == [("done", None)]
    assert run_stage(workspace, request(), noting(workspace)).unchanged


class Interrupt:
    """Counts the lines that run in files of a name, and interrupts at one of them."""

    def __init__(self, part: str, at: int) -> None:
        self.part, self.at, self.count = part, at, 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> "Interrupt":
        if event == "line" and self.part in frame.f_code.co_filename:
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("part", "every"), [("contextlib.py", 1), ("engine/cursor.py", 5), ("sqlalchemy", 151)]
)
def test_ctrl_c_at_any_line_of_a_transaction_frees_the_lock(hasty: Workspace, part: str, every: int) -> None:
    """Without a rollback at the interrupt, 183 of the first 1,200 lines left the lock taken for a minute."""

    def interrupted(at: int) -> int:
        interrupt = Interrupt(part, at)

        def work(stage: Stage) -> Report:
            sys.settrace(interrupt)  # type: ignore[arg-type]
            with stage.finishing() as connection:
                for _ in connection.execute(select(stage_run).where(stage_run.c.id == stage.run_id)):
                    pass
                connection.execute(text("SELECT 1 UNION ALL SELECT 2")).first()
                runs.finish(connection, stage.run_id, {"rows": 3})
            return {}

        try:
            run_stage(hasty, request(str(at)), work)
        except (StageCancelled, AssertionError, AttributeError):
            pass  # a few lines of SQLAlchemy make other errors of an interrupt
        finally:
            sys.settrace(before)
        hasty.database._engine.dispose()  # an interrupted one may not have come back
        return interrupt.count

    before = sys.gettrace()
    interrupted(0)  # the first run fills caches
    lines = interrupted(-1)
    for at in range(1, lines, every):
        interrupted(at)
        assert states(hasty)[-1][0] in ("cancelled", "failed", "done"), at
        assert locks(hasty) == 0, at
    assert lines > 20


def test_a_failed_run_leaves_the_earlier_result_current(workspace: Workspace) -> None:
    run_stage(workspace, request(threshold=0.8), noting(workspace))
    with pytest.raises(RuntimeError):
        run_stage(workspace, request(threshold=0.9), failing(RuntimeError("no")))

    assert run_stage(workspace, request(threshold=0.8), noting(workspace)).unchanged


def test_progress_is_written_down_for_others_but_not_for_every_row(workspace: Workspace) -> None:
    written = []

    def work(stage: Stage) -> Report:
        for number in range(1000):
            stage.progress("counting", number, 1000)
            if number % 100 == 0:
                written.append(runs.read(stage.db, stage.run_id).progress_done)
        return noting(workspace)(stage)

    run_stage(workspace, request(), work)
    assert written[0] == 0
    assert len(set(written)) < 10
