"""Durable jobs: long work that outlives the page, the app and the worker that started it.

The app enqueues; one worker process a workspace (`python -m jobs work`) runs one job at a time, each in a
child process (`python -m jobs run`), so that torch's memory goes back, a kill for memory hits the child
alone and Cancel can stop it. What is queued, running and done are rows of DBOS in WORKSPACE/jobs.sqlite;
that a worker or a child lives is a lock it holds, which the system releases however it dies. Nothing is
remembered by the app. The stages themselves survive kills and go on where they were, so a job that is run
again does only what is missing.

This module imports the standard library and `curation`'s light parts; DBOS (1.5 s) when first needed.
"""

import argparse
import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from curation.errors import CurationError, StageCancelled, WrongInput
from curation.workspace import Workspace

if TYPE_CHECKING:
    from dbos import DBOSClient, WorkflowStatus

Settings = Mapping[str, Any]  # what JSON can say
Show = Callable[[str, int, int], None]
Outcome = dict[str, Any]  # ok, then report and warnings, or message and kind
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent
DATABASE = "jobs.sqlite"
WORKER_LOCK = "worker.lock"  # held by the living worker; its text names that worker
APP_LOCK = "app.lock"  # held, shared, by every living app
SETUP_LOCK = "jobs.setup-lock"  # held while the database is made

# Fixed, so that any later worker takes over what an earlier one left (a new value would orphan its jobs).
APPLICATION, VERSION, EXECUTOR = "winnow", "1", "worker"
QUEUE, WORKFLOW, EVENT = "jobs", "run_job", "progress"

LOOK_SECONDS = 0.3  # how often a worker looks for Cancel and for new jobs
TELL_SECONDS = 0.5  # how often a worker writes progress down
SHOW_SECONDS = 0.2  # how often a child says how far it is
RATE_SECONDS = 20.0  # the rate is that of the last so many seconds
GRACE_SECONDS = 10.0  # between the request to stop and SIGKILL, at Cancel
GRACE_AT_END = 7.0  # the same when the worker itself was asked to stop
SAFE_SECONDS = 4.0  # how long a child asked to stop may wait for the next word about progress
IDLE_SECONDS = 30.0  # how long a worker waits for an app or a job
STARTS = 3  # a job whose worker died so often in a row before any work was done is given up
LOG_BYTES = 1_000_000  # the worker's log begins anew above this

SECRETS = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # never in a log or a message
NOT_NEEDED = ("OPENAI_API_KEY",)  # by any step; not even given to workers

log = logging.getLogger("winnow.jobs")


# --- the steps: what a job may be ---


@dataclass(frozen=True)
class Step:
    """Something that takes long: its name for people, the settings it knows, and how it is run."""

    title: Callable[[Settings], str]
    knows: tuple[str, ...]
    run: Callable[[Workspace, dict[str, Any], Show], Outcome]
    needs: tuple[str, ...] = ()


def _run_example(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.example import example

    return _outcome(example(workspace, show=show, **given))


def _run_import(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.formats import FieldMap
    from curation.import_samples import Settings as ImportSettings
    from curation.import_samples import import_samples

    columns = FieldMap(*(given.get(name) for name in ("instruction", "input", "response")))
    settings = ImportSettings(given.get("name"), given.get("licence"), columns)
    result = import_samples(workspace, given["file"], settings, show)
    bad = sum(result.report["rejected"].values())
    return _outcome(result, [f"{bad:,} rows could not be used"] if bad else [])


def _run_clean(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.clean import clean

    return _outcome(clean(workspace, show=show, **given))


def _run_near_duplicates(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation import near_duplicates as step

    preset = given.pop("preset", None)
    if preset is None:
        # Pairs below the floor are not stored; it follows what is asked about unless it is given, too.
        lows = [given[name] for name in ("threshold", "ask_low") if given.get(name) is not None]
        given.setdefault("floor", min([step.Settings.floor, *lows]))
        settings = step.Settings(**given)
    elif preset not in step.PRESETS:
        raise WrongInput(f"There is no preset {preset!r}; choose one of {', '.join(step.PRESETS)}")
    else:
        fixed = sorted({"threshold", "keep", "budget", "ask_low", "ask_high"} & set(given))
        if fixed:
            raise WrongInput(f"The preset {preset!r} fixes {', '.join(fixed)}; leave them out")
        settings = replace(step.PRESETS[preset], **given)
    result = step.near_duplicates(workspace, settings, show)
    cut, rows = result.report.get("cut_short"), result.report["samples"]
    note = f"{cut:,} of {rows:,} rows were compared on their first 256 word pieces only" if cut else ""
    return _outcome(result, [note] if note else [])


def _run_decontaminate(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation import decontaminate as step

    given.update({name: tuple(given[name]) for name in ("benchmarks", "detectors") if name in given})
    return _outcome(step.decontaminate(workspace, step.Settings(**given), show))


def _run_assemble(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.assemble import Settings as AssembleSettings
    from curation.assemble import assemble

    name = given.pop("name")
    result = assemble(workspace, name, AssembleSettings(**given), show)
    checked = result.report["contamination_checked"]
    note = "contamination was not checked; run `decontaminate` before you report scores"
    return _outcome(result, [] if checked else [note])


def _run_export(workspace: Workspace, given: dict[str, Any], show: Show) -> Outcome:
    from curation.export import export

    show("writing files", 0, 0)
    form, files = given["format"], given.get("files", "jsonl")
    done = export(workspace, given["name"], form, files, Path(given["to"]))
    report = {**done.report, "to": given["to"], "unchanged": done.unchanged, "attached": False}
    return {"ok": True, "report": report, "warnings": []}


def _outcome(result: Any, notes: Sequence[str] = ()) -> Outcome:
    """Say what a stage came to, in what JSON can say."""
    marks = {"unchanged": result.unchanged, "attached": result.attached}
    return {"ok": True, "report": {**result.report, **marks}, "warnings": [*result.warnings, *notes]}


def _base_name(settings: Settings) -> str:
    return str(settings.get("file", "")).rstrip("/").rsplit("/", 1)[-1]


def _benchmark_names(settings: Settings) -> str:
    return ", ".join(str(one).split("=")[0] for one in settings.get("benchmarks", ()))


NEAR = ("threshold", "floor", "text", "keep", "budget", "ask_low", "ask_high", "model", "preset")
STEPS: dict[str, Step] = {
    "example": Step(
        lambda given: f"Make the example from {given.get('rows', 3000):,} functions",
        ("rows", "benchmark"),
        _run_example,
    ),
    "import": Step(
        lambda given: f"Import {_base_name(given)}",
        ("file", "name", "licence", "instruction", "input", "response"),
        _run_import,
        ("file",),
    ),
    "clean": Step(lambda given: "Drop exact duplicates", ("rule",), _run_clean),
    "near-duplicates": Step(lambda given: "Find near-duplicates", NEAR, _run_near_duplicates),
    "decontaminate": Step(
        lambda given: f"Compare with {_benchmark_names(given)}",
        ("benchmarks", "detectors", "low", "high", "budget", "model"),
        _run_decontaminate,
        ("benchmarks",),
    ),
    "assemble": Step(
        lambda given: f"Freeze {given.get('name')}",
        ("name", "size", "open_cases", "validation"),
        _run_assemble,
        ("name",),
    ),
    "export": Step(
        lambda given: f"Export {given.get('name')} as {given.get('format')}",
        ("name", "format", "files", "to"),
        _run_export,
        ("name", "format", "to"),
    ),
}


def _title(step: str, settings: Settings) -> str:
    try:
        return STEPS[step].title(settings)
    except (KeyError, TypeError, ValueError):  # a job of another version, or settings that make no sense
        return step


def _check(step: str, settings: Settings) -> None:
    """Raise WrongInput when the step does not know a setting, or needs one that is missing."""
    known = STEPS[step]
    for key in settings:
        if key not in known.knows:
            raise WrongInput(f"{step} has no setting {key!r}; it has {', '.join(known.knows)}")
    for key in known.needs:
        if not settings.get(key):
            raise WrongInput(f"{step} needs the setting {key!r}")


def _settled(settings: Settings) -> dict[str, Any]:
    """Make paths absolute: the worker does not stand where the app stands. Raises WrongInput."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise WrongInput(f"The settings {settings!r} are not what JSON can say ({error})") from error
    for key in ("file", "to"):
        if isinstance(plain.get(key), str) and not plain[key].startswith("hf:"):
            plain[key] = os.path.abspath(os.path.expanduser(plain[key]))
    if isinstance(plain.get("benchmarks"), list):
        plain["benchmarks"] = [_settled_benchmark(str(one)) for one in plain["benchmarks"]]
    return plain


def _settled_benchmark(one: str) -> str:
    name, equals, file = one.partition("=")
    return f"{name}={os.path.abspath(os.path.expanduser(file))}" if equals else one


# --- locks: who is alive ---


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_held(path: Path, by_sharers: bool = False) -> bool:
    """Tell whether a living process holds this lock. With `by_sharers`, even one that shares it."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if by_sharers else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _take(path: Path) -> int | None:
    """Take a lock and give its file descriptor; None when another process holds it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    for _ in range(10):  # whoever looks holds it for a moment; a worker holds it for long
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(0.02)
    os.close(file)
    return None


def _worker_name(folder: Path) -> str:
    """Give what the living worker wrote into its lock, process id and a mark of its own; "": none lives."""
    if not worker_alive(folder):
        return ""
    with suppress(FileNotFoundError):
        return (folder / WORKER_LOCK).read_text().strip()
    return ""


_app_locks: dict[Path, int] = {}
_module_lock = threading.RLock()


def hold_app_lock(workspace: Path) -> None:
    """Say that an app is alive, until this process ends. Its worker stays ready as long."""
    folder = _folder(workspace)
    with _module_lock:
        if folder not in _app_locks:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / APP_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(file, fcntl.LOCK_SH)  # several apps may look at one workspace
            _app_locks[folder] = file


def _folder(workspace: Path) -> Path:
    return Path(workspace).expanduser().resolve()


def _log_of(folder: Path, job_id: str) -> Path:
    return folder / "logs" / "jobs" / f"{job_id}.log"


# --- DBOS: opened late, and without its pickles ---


def _refuse_pickle(_serializer: Any, _text: str) -> Any:
    raise ValueError("a pickle could run code when read; this row is not one of Winnow's")


def _import_dbos() -> Any:
    """Import DBOS with its pickle reader switched off.

    DBOS reads a row as a pickle whenever the row says it is one, whatever serializer we give it; and a
    workspace may come from somebody else.
    """
    import dbos
    from dbos._serialization import DefaultSerializer

    DefaultSerializer.deserialize = _refuse_pickle  # type: ignore[method-assign, assignment]
    return dbos


def _json_serializer() -> Any:
    """Make the serializer that client and worker share: JSON, errors as their words."""
    dbos = _import_dbos()

    class JsonSerializer(dbos.Serializer):  # type: ignore[misc, name-defined]
        def serialize(self, data: Any) -> str:
            if isinstance(data, BaseException):
                data = {"__error__": _without_secrets(f"{type(data).__name__}: {data}")}
            return json.dumps(data, ensure_ascii=False)

        def deserialize(self, serialized_data: str) -> Any:
            data = json.loads(serialized_data)
            return RuntimeError(data["__error__"]) if isinstance(data, dict) and "__error__" in data else data

        def name(self) -> str:
            return "winnow_json"

    return JsonSerializer()


@dataclass(frozen=True)
class _Opened:
    client: "DBOSClient"
    file: int  # inode: a workspace that was restored is another file under the same name


_clients: dict[Path, _Opened] = {}


def _client(folder: Path, make: bool = False) -> "DBOSClient | None":
    """Give this process's client of a workspace; None when it has no jobs yet and `make` is false."""
    path = folder / DATABASE
    with _module_lock:
        known = _clients.get(folder)
        exists = path.exists()
        if known is not None and exists and path.stat().st_ino == known.file:
            return known.client
        if known is not None:
            del _clients[folder]
            with suppress(Exception):
                known.client.destroy()
        if not exists and not make:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / SETUP_LOCK):
            client = _open(path)
        _clients[folder] = _Opened(client, path.stat().st_ino)
        return client


def _open(path: Path) -> "DBOSClient":
    """Open the queue's database, make it when there is none, and bring its tables up to date.

    DBOS's own client makes no tables (a job enqueued before the first worker started would fail), and
    its default journal is several times slower than WAL. Only the worker moves the log into the database
    (the WAL-reset bug of SQLite before 3.51.3): the client has one connection, and that never does.
    """
    client: DBOSClient = _import_dbos().DBOSClient(
        system_database_url=f"sqlite:///{path}",
        serializer=_json_serializer(),
        system_database_pool_size=1,
        system_database_polling_concurrency=0,
        lazy=True,
    )
    system = client._sys_db  # DBOS has no public way to migrate without a worker
    with system.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    system.run_migrations()
    return client


def _made(folder: Path) -> "DBOSClient":
    client = _client(folder, make=True)
    assert client is not None  # it was made
    return client


# --- what the app asks ---


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


WAITING = ("ENQUEUED", "DELAYED")
ACTIVE = (*WAITING, "PENDING")


def start(workspace: Path, step: str, settings: Settings) -> Job:
    """Queue a job, and start a worker when none lives. Returns at once.

    A job with equal step and settings that is queued or running is given instead of a second one; that
    holds across processes, too. Raises WrongInput for an unknown step, and for settings JSON cannot say;
    wrong values are told by the job that fails.
    """
    if step not in STEPS:
        raise WrongInput(f"There is no step {step!r}; choose one of {', '.join(STEPS)}")
    plain = _settled(settings)
    folder = Workspace(workspace).folder
    options = {
        "queue_name": QUEUE,
        "workflow_name": WORKFLOW,
        "workflow_id": str(uuid.uuid4()),
        "app_version": VERSION,
        "application_name": APPLICATION,
        "deduplication_id": sha256(json.dumps([step, plain], sort_keys=True).encode()).hexdigest(),
        "duplication_policy": "return-existing",
    }
    handle: Any = _made(folder).enqueue(options, step, plain)  # type: ignore[arg-type]
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
    folder = _folder(workspace)
    client = _client(folder)
    if client is None:
        return []
    rows = client.list_workflows(name=WORKFLOW, **wanted)
    worker = _worker_name(folder)
    return [_job(folder, client, row, worker) for row in rows]


def _job(folder: Path, client: "DBOSClient", row: "WorkflowStatus", worker: str) -> Job:
    step, settings = _asked(row)
    outcome: Any = row.output if isinstance(row.output, dict) else {}
    told: dict[str, Any] = outcome
    if "what" not in outcome:  # a job that no worker began has said nothing: no look into the rows
        told = _progress(client, row.workflow_id) if row.recovery_attempts else {}
    state = _state(folder, row, told.get("worker"), worker)
    report = outcome.get("report")
    return Job(
        id=row.workflow_id,
        step=step,
        title=_title(step, settings),
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


def _progress(client: "DBOSClient", job_id: str) -> dict[str, Any]:
    try:
        told = client.get_event(job_id, EVENT, timeout_seconds=0)
    except ValueError:  # not ours (see _refuse_pickle)
        return {}
    return told if isinstance(told, dict) else {}


def _state(folder: Path, row: "WorkflowStatus", runner: str | None, worker: str) -> str:
    """Tell the state of a job that the worker `runner` began (None: nobody yet) while `worker` lives."""
    status: str = row.status
    if status in WAITING:
        return "interrupted" if runner is not None and not worker else "queued"
    if status == "PENDING":  # a new worker has it only when it said so
        return "running" if worker and runner in (None, worker) else "interrupted"
    if status == "CANCELLED":
        return "cancelling" if _is_held(_log_of(folder, row.workflow_id)) else "cancelled"
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
        _made(_folder(workspace)).cancel_workflow(job_id)
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
        raise WrongInput(f"There is no job {job_id!r} in {_folder(workspace)}; see `python -m jobs list`")
    return found


def log_tail(workspace: Path, job_id: str, characters: int = 20_000) -> str:
    """Give the end of a job's log; "" when it has none."""
    if not re.fullmatch(r"[0-9a-f-]{1,64}", job_id):
        return ""  # it names a file
    try:
        with _log_of(_folder(workspace), job_id).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 4 * characters))
            return file.read().decode(errors="replace")[-characters:]
    except FileNotFoundError:
        return ""


def worker_alive(workspace: Path) -> bool:
    """Tell whether a worker lives, by the lock it holds."""
    return _is_held(_folder(workspace) / WORKER_LOCK)


_workers: list[subprocess.Popen[bytes]] = []  # those this process started, to be waited for when they end


def ensure_worker(workspace: Path) -> None:
    """Start a worker when none lives. It outlives this process."""
    folder = _folder(workspace)
    with _module_lock:
        _workers[:] = [one for one in _workers if one.poll() is None]
        lock = None if worker_alive(folder) else _take(folder / WORKER_LOCK)
        if lock is None:
            return
        try:  # the lock goes over to the worker, so that no second one can start meanwhile
            _workers.append(_spawn_worker(folder, lock))
        finally:
            os.close(lock)


def _spawn_worker(folder: Path, lock: int) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "jobs", "work", "--workspace", str(folder), "--lock", str(lock)]
    os.ftruncate(lock, 0)  # it names the worker before
    with _worker_log(folder) as out:
        return subprocess.Popen(
            words, cwd=ROOT, env=_environment(), pass_fds=(lock,), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip


def _worker_log(folder: Path) -> IO[bytes]:
    file = folder / "logs" / "worker.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".old.log"))
    return file.open("ab")


def _environment() -> dict[str, str]:
    """Give what workers and steps are told of ours; keys they have no use for are left out."""
    return {name: value for name, value in os.environ.items() if name not in NOT_NEEDED}


def _without_secrets(text: str) -> str:
    for name in SECRETS:
        if os.environ.get(name):
            text = text.replace(os.environ[name], "***")
    return text


_kept: set[Path] = set()


def keep_worker(workspace: Path | Workspace, every: float = 1.0) -> None:
    """Restart a worker that died while jobs wait, from now on, in a thread. Once a process and workspace.

    Also lets the database move its log, when it knows how; give the app's own Workspace for that.
    """
    kept = workspace if isinstance(workspace, Workspace) else None
    folder = kept.folder if kept is not None else _folder(workspace)  # type: ignore[arg-type]
    with _module_lock:
        if folder in _kept:
            return
        _kept.add(folder)
    threading.Thread(
        target=_keep, args=(folder, kept, every), name=f"keep-worker {folder}", daemon=True
    ).start()


def _keep(folder: Path, workspace: Workspace | None, every: float) -> None:
    pause = every  # grows while workers keep dying, so that a broken one does not cost a core
    next_start = 0.0
    while True:
        try:
            if worker_alive(folder):
                pause = max(every, pause / 1.2)
            elif time.monotonic() >= next_start and active(folder):
                ensure_worker(folder)
                next_start, pause = time.monotonic() + pause, min(60.0, pause * 2)
            workspace = workspace or Workspace(folder)
            checkpoint = getattr(workspace.database, "checkpoint", None)
            if checkpoint is not None:
                checkpoint()
        except Exception:  # the app goes on, whatever is wrong with the workspace
            log.exception("looking after the worker of %s", folder)
        time.sleep(every)


# --- the worker ---


class _Pace:
    """How fast the current phase goes: units a second over the last 20 s, and what is left of it."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._what: str | None = None

    def measure(self, what: str, done: int, total: int) -> tuple[float | None, float | None]:
        now = time.monotonic()
        if what != self._what or (self._seen and done < self._seen[-1][1]):
            self._seen.clear()
            self._what = what
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_SECONDS:
            self._seen.popleft()
        began, first = self._seen[0]
        if now - began < 1.0 or done <= first:
            return None, None
        rate = (done - first) / (now - began)
        return round(rate, 2), round((total - done) / rate, 1) if total else None


class _Child:
    """The process that does a job's work, and the last thing it said."""

    def __init__(self, folder: Path, job_id: str, step: str, settings: Settings) -> None:
        """Start it. The job's log is locked, by us and by the child, until neither holds it."""
        path = _log_of(folder, job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # waits for a child that a killed worker left dying
            out.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {_title(step, settings)}\n".encode())
            out.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobs", "run", "--workspace", str(folder)],
                cwd=ROOT, env=_environment(), start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out,
            )  # fmt: skip
        self.said: tuple[str, int, int] = ("starting", 0, 0)
        self.result: Outcome | None = None
        self.has_worked = False  # some units of some phase were done
        self.silent = threading.Event()  # it said its last
        self._first: tuple[str, int] | None = None
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; `outcome` says so
            self._process.stdin.write(json.dumps([step, settings]).encode() + b"\n")
            self._process.stdin.flush()  # and left open: its end tells the child that we are gone

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            if isinstance(said, list):
                self._note(*said)
            else:
                self.result = said
        self.silent.set()

    def _note(self, what: str, done: int, total: int) -> None:
        self.said = (what, done, total)
        if self._first is None or self._first[0] != what:
            self._first = (what, done)
        self.has_worked = self.has_worked or done > self._first[1]

    def stop(self, grace: float) -> None:
        """Ask it to stop, as Ctrl-C would, and kill it when it takes longer than `grace` seconds."""
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # and what it may have started
        self._process.wait()

    def outcome(self) -> Outcome:
        """Give its result, or what it died of. Waits for its end."""
        with suppress(subprocess.TimeoutExpired):  # some libraries are slow to leave; the result is known
            self._process.wait(GRACE_SECONDS if self.result is not None else None)
        self._kill_group()
        if self.result is not None:
            return self.result
        return {"ok": False, "kind": "Died", "message": _died_of(self._process.returncode)}


def _died_of(status: int) -> str:
    if status >= 0:
        return (
            f"The process that did the work ended with status {status} and no result; "
            "its log says more. Resume goes on from what was finished"
        )
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    hint = (
        "often because memory ran out: close other programs or take fewer rows"
        if status == -signal.SIGKILL
        else "by somebody or by a fault of a library: its log may say more"
    )
    return (
        f"The process that did the work was killed by signal {-status} ({name}), {hint}. "
        "What was finished is kept; resume goes on from there"
    )


class _Worker:
    """Runs the jobs of one workspace, one at a time, until nobody needs it."""

    def __init__(self, folder: Path, idle: float, name: str) -> None:
        self.folder = folder
        self.name = name
        self.idle = idle
        self.stopping = threading.Event()  # by SIGTERM
        self.one_child = threading.Lock()
        self.client = _made(folder)
        self.publish: Callable[[dict[str, Any]], None]

    def run(self) -> None:
        """Launch DBOS, which takes up what an earlier worker left, and wait."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        dbos = self._launch()
        needed = time.monotonic()
        while not self.stopping.wait(LOOK_SECONDS):
            if self.one_child.locked() or active(self.folder) or _is_held(self.folder / APP_LOCK, True):
                needed = time.monotonic()
            elif time.monotonic() - needed > self.idle:
                dbos.DBOS.destroy()
                log.info("nothing left to do and no app: the worker ends")
                return
        self.one_child.acquire()  # once the child is gone; no other one starts after this
        log.info("asked to stop: what was running goes on with the next worker")
        logging.shutdown()
        os._exit(0)  # without a word to DBOS, for which the job must stay unfinished

    def _launch(self) -> Any:
        dbos = _import_dbos()
        dbos.DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": f"sqlite:///{self.folder / DATABASE}",
                "application_version": VERSION,
                "executor_id": EXECUTOR,
                "serializer": _json_serializer(),
                "enable_otlp": False,
                "log_level": "WARNING",
            }
        )

        # Two functions, because DBOS repeats a workflow after a kill but never a finished step.
        @dbos.DBOS.step(name="work")  # type: ignore[untyped-decorator]
        def work(step: str, settings: dict[str, Any]) -> Outcome:
            self.publish = lambda told: dbos.DBOS.set_event(EVENT, told)
            return self.work(dbos.DBOS.workflow_id, step, settings)

        @dbos.DBOS.workflow(name=WORKFLOW)  # type: ignore[untyped-decorator]
        def run_job(step: str, settings: dict[str, Any]) -> Outcome:
            outcome: Outcome = work(step, settings)
            return outcome

        dbos.DBOS.launch()
        dbos.DBOS.register_queue(QUEUE, worker_concurrency=1, polling_interval_sec=LOOK_SECONDS)
        log.info("worker %d is ready", os.getpid())
        return dbos

    def work(self, job_id: str, step: str, settings: dict[str, Any]) -> Outcome:
        """Run a job in a child. What is told on the way replaces what was told before: one row a job."""
        before = _progress(self.client, job_id)
        told = {
            "worker": self.name,
            "what": "starting",
            "done": 0,
            "total": 0,
            "started": before.get("started") or int(time.time() * 1000),
            "starts": before.get("starts", 0) + 1,
        }
        if told["starts"] > STARTS:
            message = (
                f"The worker died {STARTS} times in a row before this job got anything done; "
                "logs/worker.log may say why. Resume tries again"
            )
            return {**told, "ok": False, "kind": "Died", "message": message}
        self._tell(told)
        with self.one_child:  # a cancelled job's child may still be stopping
            if not self.stopping.is_set():
                child = _Child(self.folder, job_id, step, settings)
                told = self._follow(child, job_id, told)
                if not self.stopping.is_set():
                    return {**told, **child.outcome()}
                child.stop(GRACE_AT_END)
                self._tell({**told, "starts": 0})
        while True:  # the process is about to end, and this job must not
            time.sleep(1)

    def _follow(self, child: _Child, job_id: str, told: dict[str, Any]) -> dict[str, Any]:
        """Pass on what a child says until it ends, its job is cancelled or we are asked to stop."""
        pace, last = _Pace(), 0.0
        while not child.silent.wait(LOOK_SECONDS):
            if self.stopping.is_set():
                break
            if self._is_cancelled(job_id):
                child.stop(GRACE_SECONDS)
                break
            if time.monotonic() - last >= TELL_SECONDS:
                last = time.monotonic()
                new = self._now(child, pace, told)
                if new != told:
                    self._tell(new)
                told = new
        return self._now(child, pace, told)

    def _now(self, child: _Child, pace: _Pace, told: dict[str, Any]) -> dict[str, Any]:
        what, done, total = child.said
        rate, left = pace.measure(what, done, total)
        starts = 0 if child.has_worked else told["starts"]
        return {**told, "what": what, "done": done, "total": total, "rate": rate, "left": left,
                "starts": starts}  # fmt: skip

    def _is_cancelled(self, job_id: str) -> bool:
        rows = self.client.list_workflows(workflow_ids=[job_id], load_input=False, load_output=False)
        return not rows or rows[0].status == "CANCELLED"

    def _tell(self, told: dict[str, Any]) -> None:
        try:
            self.publish(told)
        except Exception as error:  # cancelled meanwhile; or the disk is full, and the child will say so
            log.info("progress was not written: %s: %s", type(error).__name__, error)


def work(folder: Path, idle: float, inherited: int | None = None) -> int:
    """Be the worker of a workspace until nobody needs it. Gives the exit status."""
    lock = inherited if inherited is not None else _take(folder / WORKER_LOCK)
    if lock is None:
        print(f"A worker of {folder} runs already")
        return 0
    os.set_inheritable(lock, False)
    name = f"{os.getpid()} {uuid.uuid4().hex}"
    os.ftruncate(lock, 0)
    os.pwrite(lock, name.encode(), 0)
    _log_to(folder)
    try:
        _Worker(folder, idle, name).run()
    except Exception:
        log.exception("the worker failed")
        return 1
    os.close(lock)
    # A job that came since the last look saw a living worker; from here on it sees none.
    if active(folder):
        ensure_worker(folder)
    return 0


def _log_to(folder: Path) -> None:
    """Write what we and DBOS have to say to logs/worker.log, and nothing to a terminal."""
    _worker_log(folder).close()  # begins anew when it is long
    handler = logging.FileHandler(folder / "logs" / "worker.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("winnow.jobs", "dbos"):  # DBOS adds a handler for the terminal only when there is none
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    log.setLevel(logging.INFO)


# --- the child ---


class _Teller:
    """Says how far the work is, as JSON lines, five a second at most, and in the end what it came to.

    It is also where the work stops when asked to (SIGINT): between two blocks. An interrupt in the middle
    of a commit leaves SQLite's write lock with a dead connection, and the stage then waits for itself.
    """

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._said_at = 0.0
        self._unsaid: list[Any] | None = None
        self._is_asked = False
        signal.signal(signal.SIGINT, self._ask)  # a shell may have had it ignored
        signal.signal(signal.SIGALRM, signal.default_int_handler)

    def _ask(self, *_: Any) -> None:
        self._is_asked = True
        signal.setitimer(signal.ITIMER_REAL, SAFE_SECONDS)  # then wherever it is

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._is_asked:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._is_asked = False
            raise KeyboardInterrupt
        self._unsaid = [what, int(done), int(total or 0)]
        if time.monotonic() - self._said_at >= SHOW_SECONDS:
            self._say(self._unsaid)

    def finish(self, outcome: Outcome) -> None:
        if self._unsaid is not None:
            self._say(self._unsaid)
        self._say(outcome)

    def _say(self, something: Any) -> None:
        self._out.write(json.dumps(something) + "\n")
        self._out.flush()
        self._said_at, self._unsaid = time.monotonic(), None


def run_child(folder: Path) -> int:
    """Do one job: step and settings come as a line of standard input, whose end means the worker died."""
    teller = _Teller(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever libraries print goes to the log
    try:
        step, settings = json.loads(_first_line())
        threading.Thread(target=_die_with_the_worker, daemon=True).start()
        outcome = _attempt(folder, step, settings, teller)
    except (KeyboardInterrupt, StageCancelled):
        outcome = _refused("StageCancelled", "Stopped; what was finished is kept, resume goes on from there")
    teller.finish(outcome)
    return 0 if outcome["ok"] else 1


def _first_line() -> bytes:
    """Read a line without reading ahead: the rest is `_die_with_the_worker`'s."""
    line = bytearray()
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _die_with_the_worker() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)  # as sudden as the worker's death may have been; the stages survive it


def _attempt(folder: Path, step: str, settings: Settings, show: Show) -> Outcome:
    try:
        if step not in STEPS:
            raise WrongInput(f"There is no step {step!r}; choose one of {', '.join(STEPS)}")
        _check(step, settings)
        return STEPS[step].run(Workspace(folder), dict(settings), show)
    except StageCancelled:
        raise
    except CurationError as error:
        return _refused(type(error).__name__, str(error))
    except MemoryError:
        _log_traceback()
        return _refused("MemoryError", "Memory ran out; close other programs or take fewer rows, then resume")
    except OSError as error:
        _log_traceback()
        where = f" ({error.filename})" if error.filename else ""
        return _refused("OSError", f"{error.strerror or error}{where}; mend it, then resume")
    except Exception as error:
        _log_traceback()
        told = f"Something unexpected went wrong ({type(error).__name__}: {error}); the log says where"
        return _refused("Unexpected", told)


def _refused(kind: str, message: str) -> Outcome:
    return {"ok": False, "kind": kind, "message": _without_secrets(message)}


def _log_traceback() -> None:
    sys.stderr.write(_without_secrets(traceback.format_exc()))
    sys.stderr.flush()


# --- the command line ---


def _list(folder: Path) -> int:
    for one in reversed(jobs(folder)):
        how_far = f"  {one.what} {one.done:,} of {one.total:,}" if one.total else ""
        print(f"{one.id}  {one.state:11}  {one.title}{how_far}{'  ' if one.message else ''}{one.message}")
    return 0


def stop(folder: Path) -> int:
    """Ask the worker to stop and say what becomes of its jobs. Gives the exit status."""
    waiting = active(folder)
    if not worker_alive(folder):
        print("No worker runs." + _goes_on(waiting))
        return 0
    deadline = time.monotonic() + GRACE_SECONDS + 5.0
    asked = ""
    while worker_alive(folder):
        name = _worker_name(folder)
        if name and name != asked:  # it writes its name soon after it took the lock
            with suppress(ProcessLookupError):
                os.kill(int(name.split()[0]), signal.SIGTERM)
            asked = name
        if time.monotonic() > deadline:
            print(f"The worker does not stop; its process id is in {folder / WORKER_LOCK}")
            return 1
        time.sleep(0.1)
    print("The worker is stopped." + _goes_on(active(folder)))
    return 0


def _goes_on(waiting: Sequence[Job]) -> str:
    if not waiting:
        return ""
    return f" {_names(waiting)} will go on at the next `make run`; what was finished is kept."


def after(folder: Path) -> int:
    """Say what goes on now that the page server is closed; nothing when nothing does."""
    waiting = active(folder)
    if waiting and worker_alive(folder):
        print(
            f"{_names(waiting)} goes on in the background. `make run` shows it again, `make stop` stops it."
        )
    elif waiting:
        print(f"Not running:{_goes_on(waiting)}")
    return 0


def _names(some: Sequence[Job]) -> str:
    first = f"{some[0].title!r}"
    return first if len(some) == 1 else f"{first} and {len(some) - 1:,} more"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `python -m jobs`. Gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Long work in the background.")
    parser.add_argument("command", choices=("list", "stop", "after", "work", "run"))
    parser.add_argument("--workspace", metavar="DIR", help="default: WINNOW_WORKSPACE, else workspace/")
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds a worker waits for work")
    parser.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    folder = _folder(Path(args.workspace or os.environ.get("WINNOW_WORKSPACE") or "workspace"))
    try:
        if args.command == "run":
            return run_child(folder)
        if args.command == "work":
            return work(Workspace(folder).folder, args.idle, args.lock)
        return {"list": _list, "stop": stop, "after": after}[args.command](folder)
    except CurationError as error:
        sys.stderr.write(f"jobs: {error}\n")
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
