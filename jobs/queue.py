"""What the app asks: start, list, cancel and resume jobs, read their logs.

States are derived from DBOS's rows and from who holds which lock, never from what this process remembers.
"""

import json
import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import WrongInput
from curation.file_lock import is_held
from curation.workspace import Workspace
from jobs.alive import ensure_worker, folder_of, log_of, worker_name
from jobs.database import (
    APPLICATION,
    DATABASE,
    VERSION,
    WORKFLOW,
    client_of,
    made_client,
    plain_errors,
    read_progress,
)
from jobs.steps import STEPS, Settings, queue_of, settled, title_of

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

WAITING = ("ENQUEUED", "DELAYED")
ACTIVE = (*WAITING, "PENDING")


@dataclass(frozen=True)
class Job:
    """A job as its rows and the locks say it is now."""

    id: str
    step: str
    title: str  # for people
    settings: dict[str, Any]
    # queued, running, interrupted (its worker is gone; it goes on with the next one), done, failed,
    # cancelling (asked to stop, and still stopping), cancelled
    state: str
    what: str = ""  # what is being done
    done: int = 0
    total: int = 0  # 0: unknown
    rate: float | None = None  # units a second in the last 20 s of this phase
    seconds_left: float | None = None
    created_at: datetime | None = None  # UTC
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""  # an error or a note, for people
    report: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)


def start(workspace: Path, step: str, settings: Settings) -> Job:
    """Queue a job, and start a worker when none lives. Returns at once.

    A job with equal step and settings that is queued or running is given instead of a second one; that
    holds across processes, too. Raises WrongInput for an unknown step, and for settings JSON cannot say;
    wrong values are told by the job that fails.
    """
    if step not in STEPS:
        raise WrongInput(f"There is no step {step!r}; choose one of {', '.join(STEPS)}")
    plain = settled(settings)
    folder = Workspace(workspace).folder
    options = {
        "queue_name": queue_of(step),
        "workflow_name": WORKFLOW,
        "workflow_id": str(uuid.uuid4()),
        "app_version": VERSION,
        "application_name": APPLICATION,
        "deduplication_id": sha256(json.dumps([step, plain], sort_keys=True).encode()).hexdigest(),
        "duplication_policy": "return-existing",
    }
    with plain_errors(folder / DATABASE):
        handle: Any = made_client(folder).enqueue(options, step, plain)  # type: ignore[arg-type]
    ensure_worker(folder)
    found = job(folder, handle.get_workflow_id())
    assert found is not None  # it was just written
    return found


def jobs(workspace: Path, limit: int = 50) -> list[Job]:
    """Give the newest jobs, newest first."""
    return _listed(workspace, limit=limit, sort_desc=True)


def active(workspace: Path) -> list[Job]:
    """Give the jobs that are queued, running or interrupted, the oldest first."""
    return _listed(workspace, status=list(ACTIVE), load_output=False)


def job(workspace: Path, job_id: str) -> Job | None:
    """Give one job; None when there is none of this id."""
    found = _listed(workspace, workflow_ids=[job_id])
    return found[0] if found else None


def _listed(workspace: Path, **wanted: Any) -> list[Job]:
    folder = folder_of(workspace)
    client = client_of(folder)
    if client is None:
        return []
    with plain_errors(folder / DATABASE):
        rows = client.list_workflows(name=WORKFLOW, **wanted)
        worker = worker_name(folder)
        return [_job(folder, client, row, worker) for row in rows]


def _job(folder: Path, client: "DBOSClient", row: "WorkflowStatus", worker: str) -> Job:
    step, settings = _asked(row)
    outcome: Any = row.output if isinstance(row.output, dict) else {}
    told: dict[str, Any] = outcome
    if "what" not in outcome:  # a job that no worker began has said nothing: no look into the rows
        told = read_progress(client, row.workflow_id) if row.recovery_attempts else {}
    state = _state(folder, row, told.get("worker"), worker)
    report = outcome.get("report")
    return Job(
        id=row.workflow_id,
        step=step,
        title=title_of(step, settings),
        settings=settings,
        state=state,
        what=told.get("what", ""),
        done=told.get("done", 0),
        total=told.get("total", 0),
        rate=told.get("rate") if state == "running" else None,
        seconds_left=told.get("left") if state == "running" else None,
        created_at=_time(row.created_at),
        started_at=_time(told.get("started") or row.dequeued_at),
        finished_at=_time(row.completed_at) if state in ("done", "failed", "cancelled") else None,
        message=_message(row, state, outcome),
        report=report if isinstance(report, dict) else None,
        warnings=list(outcome.get("warnings", ())),
    )


def _asked(row: "WorkflowStatus") -> tuple[str, dict[str, Any]]:
    """Give step and settings; of a row that is not ours, marks of question."""
    try:
        step, settings = row.input["args"]  # type: ignore[index]
        return str(step), dict(settings)
    except (TypeError, KeyError, ValueError):
        return "?", {}


def _state(folder: Path, row: "WorkflowStatus", runner: str | None, worker: str) -> str:
    """Tell the state of a job that the worker `runner` began (None: nobody yet) while `worker` lives."""
    status: str = row.status
    if status in WAITING:
        return "interrupted" if runner is not None and not worker else "queued"
    if status == "PENDING":  # a new worker has it only when it said so
        return "running" if worker and runner in (None, worker) else "interrupted"
    if status == "CANCELLED":
        return "cancelling" if is_held(log_of(folder, row.workflow_id)) else "cancelled"
    if status == "SUCCESS" and isinstance(row.output, dict) and row.output.get("ok"):
        return "done"
    return "failed"


def _message(row: "WorkflowStatus", state: str, outcome: Mapping[str, Any]) -> str:
    if state == "interrupted":
        return "Its worker is gone; it goes on when the next one starts, and what was finished is kept"
    if state == "cancelled":
        return "Cancelled; what was finished is kept, resume goes on from there"
    if state == "failed" and "message" not in outcome:
        why = str(row.error or row.status)
        return f"The worker could not run this job ({why}); the details are in logs/worker.log"
    return str(outcome.get("message", ""))


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def cancel(workspace: Path, job_id: str) -> Job:
    """Stop a job: a queued one at once, a running one as soon as its step can (SIGKILL after 10 s).

    Does nothing to one that is finished. Raises WrongInput when there is no such job.
    """
    found = _known(workspace, job_id)
    if found.state in ("queued", "running", "interrupted"):
        with plain_errors(folder_of(workspace) / DATABASE):
            made_client(folder_of(workspace)).cancel_workflow(job_id)
    return _known(workspace, job_id)


def resume(workspace: Path, job_id: str) -> Job:
    """Let a job go on.

    A cancelled or failed one gets a successor with a new id, which is returned: its own row stays as the
    record of what happened, and the steps do only what is missing. An interrupted one goes on under its
    own id. Others are returned as they are. Raises WrongInput when there is no such job.
    """
    found = _known(workspace, job_id)
    if found.state in ("cancelled", "cancelling", "failed"):
        return start(workspace, found.step, found.settings)
    if found.state != "done":
        ensure_worker(workspace)
    return _known(workspace, job_id)


def _known(workspace: Path, job_id: str) -> Job:
    found = job(workspace, job_id)
    if found is None:
        raise WrongInput(f"There is no job {job_id!r} in {folder_of(workspace)}; see `python -m jobs list`")
    return found


def log_tail(workspace: Path, job_id: str, characters: int = 20_000) -> str:
    """Give the end of a job's log; "" when it has none."""
    if not re.fullmatch(r"[0-9a-f-]{1,64}", job_id):
        return ""  # it names a file
    try:
        with log_of(folder_of(workspace), job_id).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 4 * characters))
            return file.read().decode(errors="replace")[-characters:]
    except FileNotFoundError:
        return ""
