"""Running a stage: once at a time, not again for nothing, watched, stopped and resumed."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from curation.errors import CurationError, SourceUnavailable, StageCancelled
from curation.store import runs
from curation.store.database import Connection, Database, Row
from curation.store.runs import Request
from curation.workspace import Workspace

Report = dict[str, Any]
Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many
REPORT_SECONDS = 0.5  # how often progress is written down for watchers
WATCH_SECONDS = 0.3  # how often a watcher looks


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass
class StageResult:
    """What a stage came to."""

    report: Report
    run_id: int
    unchanged: bool = False  # an equal run was current already; nothing was done
    attached: bool = False  # another process was running the stage; we watched it first
    warnings: list[str] = field(default_factory=list)


@dataclass
class Stage:
    """One run in progress, as the step that does the work sees it."""

    workspace: Workspace
    run_id: int
    _show: Progress
    _written: float = 0.0

    @property
    def db(self) -> Database:
        return self.workspace.database

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far the work is. Cheap enough to call for every block."""
        self._show(what, done, total)
        if time.monotonic() - self._written >= REPORT_SECONDS:
            runs.report_progress(self.db, self.run_id, what, done, total)
            self._written = time.monotonic()

    @contextmanager
    def finishing(self) -> Iterator[Connection]:
        """Give the transaction in which the whole result is written and the run becomes current."""
        with self.db.transaction() as connection:
            yield connection


def run_stage(
    workspace: Workspace,
    request: Request,
    work: Callable[[Stage], Report],
    show: Progress = silent,
    again: bool = False,
) -> StageResult:
    """Run a stage unless an equal run is current; attach to a run in progress elsewhere.

    `work` writes its result, calls `runs.finish` in that same transaction and gives its report.
    Raises what `work` raises, after the run is marked failed or cancelled.
    """
    attached = False
    while True:
        start = runs.start(workspace.database, request, again and not attached)
        if start.busy is not None:
            attached = True
            _watch(workspace.database, start.busy, show)
        elif start.unchanged is not None:
            run = start.unchanged
            return StageResult(dict(run.report), run.id, unchanged=True, attached=attached)
        else:
            assert start.run_id is not None
            report = _work(workspace, start.run_id, work, show)
            return StageResult(report, start.run_id, attached=attached)


def _watch(db: Database, lock: Row[Any], show: Progress) -> None:
    """Show the progress of another process's run until it ends, however it ends."""
    show(f"attached to process {lock.pid}, which is running {lock.stage}", 0, 0)
    while any(run.id == lock.run_id for run in runs.running(db)):
        run = runs.read(db, lock.run_id)
        if run.progress_what is not None:
            show(f"process {lock.pid}: {run.progress_what}", run.progress_done, run.progress_total)
        time.sleep(WATCH_SECONDS)


def _work(workspace: Workspace, run_id: int, work: Callable[[Stage], Report], show: Progress) -> Report:
    db = workspace.database
    try:
        return work(Stage(workspace, run_id, show))
    except KeyboardInterrupt as interrupt:
        # What it cut short may hold the write lock that we need now, and its traceback keeps that alive.
        traceback.clear_frames(interrupt.__traceback__)
        _close(db, run_id, "cancelled", "stopped by the user")
        raise StageCancelled("Stopped; what was finished is kept, run the same command to go on") from None
    except OSError as error:
        _note_failure(db, run_id, str(error))
        raise SourceUnavailable(
            f"{error.strerror or error} ({error.filename or workspace.folder}); "
            "nothing acknowledged was lost. Mend it and run the same command to go on"
        ) from error
    except CurationError as error:
        _note_failure(db, run_id, str(error))
        raise
    except BaseException:
        _note_failure(db, run_id, f"unexpected {sys.exc_info()[0]}")
        raise


def _close(db: Database, run_id: int, state: str, message: str) -> None:
    # What stops the work just after its last commit comes too late: that run is done.
    if runs.read(db, run_id).state == "running":
        runs.stop(db, run_id, state, message)


def _note_failure(db: Database, run_id: int, message: str) -> None:
    # When the disk is full the lock goes with this process, and the first error is the one to tell.
    with suppress(CurationError):
        _close(db, run_id, "failed", message)
