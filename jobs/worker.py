"""The worker of a workspace: one process that runs one job of each queue at a time, until nobody needs it."""

import logging
import os
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation.file_lock import is_held
from curation.teacher_key import hide_keys_in_logs
from curation.workspace import Workspace
from jobs.alive import (
    APP_LOCK,
    WORKER_LOCK,
    ensure_worker,
    folder_of,
    module_lock,
    take,
    worker_alive,
    worker_log,
)
from jobs.child import GRACE_SECONDS, Child
from jobs.database import (
    APPLICATION,
    DATABASE,
    EVENT,
    EXECUTOR,
    VERSION,
    WORKFLOW,
    import_dbos,
    inode_of,
    json_serializer,
    made_client,
    read_progress,
)
from jobs.queue import active
from jobs.steps import QUEUES, Outcome, queue_of

LOOK_SECONDS = 0.3  # how often a worker looks for Cancel and for new jobs
TELL_SECONDS = 0.5  # how often a worker writes progress down
RATE_SECONDS = 20.0  # the rate is that of the last so many seconds
GRACE_AT_END = 7.0  # between the request to stop and SIGKILL when the worker itself was asked to stop
IDLE_SECONDS = 30.0  # how long a worker waits for an app or a job
STARTS = 3  # a job whose worker died so often in a row before any work was done is given up

log = logging.getLogger("winnow.jobs")


class Pace:
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


class Worker:
    """Runs the jobs of one workspace, one of each queue at a time, until nobody needs it."""

    def __init__(self, folder: Path, idle: float, name: str) -> None:
        self.folder = folder
        self.name = name
        self.idle = idle
        self.stopping = threading.Event()  # by SIGTERM
        self.one_child = {queue: threading.Lock() for queue in QUEUES}
        self.client = made_client(folder)
        self.database = inode_of(folder / DATABASE)
        self.publish: Callable[[dict[str, Any]], None]

    def run(self) -> None:
        """Launch DBOS, which takes up what an earlier worker left, and wait."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopping.set())
        dbos = self._launch()
        needed = time.monotonic()
        while not self.stopping.wait(LOOK_SECONDS):
            if inode_of(self.folder / DATABASE) != self.database:
                log.warning("%s was taken away or replaced: the next worker reads the new one", DATABASE)
                self.stopping.set()  # what this one would do would be read by nobody
                break
            at_work = any(lock.locked() for lock in self.one_child.values())
            if at_work or active(self.folder) or is_held(self.folder / APP_LOCK, True):
                needed = time.monotonic()
            elif time.monotonic() - needed > self.idle:
                dbos.DBOS.destroy()
                log.info("nothing left to do and no app: the worker ends")
                return
        for lock in self.one_child.values():
            lock.acquire()  # once the child is gone; no other one starts after this
        log.info("asked to stop: what was running goes on with the next worker")
        logging.shutdown()
        os._exit(0)  # without a word to DBOS, for which the job must stay unfinished

    def _launch(self) -> Any:
        dbos = import_dbos()
        dbos.DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": f"sqlite:///{self.folder / DATABASE}",
                "application_version": VERSION,
                "executor_id": EXECUTOR,
                "serializer": json_serializer(),
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
        for queue in QUEUES:
            dbos.DBOS.register_queue(queue, worker_concurrency=1, polling_interval_sec=LOOK_SECONDS)
        log.info("worker %d is ready", os.getpid())
        return dbos

    def work(self, job_id: str, step: str, settings: dict[str, Any]) -> Outcome:
        """Run a job in a child. What is told on the way replaces what was told before: one row a job."""
        before = read_progress(self.client, job_id)
        told = {
            "worker": self.name,
            "what": "starting",
            "done": 0,
            "total": 0,
            # In whole seconds, as the queue has its times: a quick job would end before it began.
            "started": before.get("started") or int(time.time()) * 1000,
            "starts": before.get("starts", 0) + 1,
        }
        if told["starts"] > STARTS:
            message = (
                f"The worker died {STARTS} times in a row before this job got anything done; "
                "logs/worker.log may say why. Resume tries again"
            )
            return {**told, "ok": False, "kind": "Died", "message": message}
        self._tell(told)
        with self.one_child[queue_of(step)]:  # a cancelled job's child may still be stopping
            if not self.stopping.is_set():
                child = Child(self.folder, job_id, step, settings)
                told = self._follow(child, job_id, told)
                if not self.stopping.is_set():
                    return {**told, **child.outcome()}
                child.stop(GRACE_AT_END)
                self._tell({**told, "starts": 0})
        while True:  # the process is about to end, and this job must not
            time.sleep(1)

    def _follow(self, child: Child, job_id: str, told: dict[str, Any]) -> dict[str, Any]:
        """Pass on what a child says until it ends, its job is cancelled or we are asked to stop."""
        pace, last = Pace(), 0.0
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

    def _now(self, child: Child, pace: Pace, told: dict[str, Any]) -> dict[str, Any]:
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
    lock = inherited if inherited is not None else take(folder / WORKER_LOCK)
    if lock is None:
        print(f"A worker of {folder} runs already")
        return 0
    os.set_inheritable(lock, False)
    name = f"{os.getpid()} {uuid.uuid4().hex}"
    os.ftruncate(lock, 0)
    os.pwrite(lock, name.encode(), 0)
    _log_to(folder)
    try:
        Worker(folder, idle, name).run()
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
    worker_log(folder).close()  # begins anew when it is long
    handler = logging.FileHandler(folder / "logs" / "worker.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("winnow.jobs", "dbos"):  # DBOS adds a handler for the terminal only when there is none
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    hide_keys_in_logs(log.name, "dbos")
    log.setLevel(logging.INFO)


# --- looking after it, from the app ---

_kept: set[Path] = set()


def keep_worker(workspace: Path | Workspace, every: float = 1.0) -> None:
    """Restart a worker that died while jobs wait, from now on, in a thread. Once a process and workspace.

    Also moves the database's log, which only the Workspace that opened it first in this process may do: give
    that one, when there is one.
    """
    kept = workspace if isinstance(workspace, Workspace) else None
    folder = kept.folder if kept is not None else folder_of(workspace)  # type: ignore[arg-type]
    with module_lock:
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
            workspace.database.checkpoint()
        except Exception:  # the app goes on, whatever is wrong with the workspace
            log.exception("looking after the worker of %s", folder)
        time.sleep(every)
