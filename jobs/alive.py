"""Who is alive: locks that the system releases however their holder dies. And starting a worker."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from curation.file_lock import is_held
from jobs.keys import environment_of_worker

ROOT = Path(__file__).resolve().parent.parent
WORKER_LOCK = "worker.lock"  # held by the living worker; its text names that worker
APP_LOCK = "app.lock"  # held, shared, by every living app
LOG_BYTES = 1_000_000  # the worker's log begins anew above this

module_lock = threading.RLock()
_app_locks: dict[Path, int] = {}
_workers: list[subprocess.Popen[bytes]] = []  # those this process started, to be waited for when they end


def folder_of(workspace: Path) -> Path:
    return Path(workspace).expanduser().resolve()


def log_of(folder: Path, job_id: str) -> Path:
    return folder / "logs" / "jobs" / f"{job_id}.log"


def take(path: Path) -> int | None:
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


def worker_name(folder: Path) -> str:
    """Give what the living worker wrote into its lock, process id and a mark of its own; "": none lives."""
    if not worker_alive(folder):
        return ""
    with suppress(FileNotFoundError):
        return (folder / WORKER_LOCK).read_text().strip()
    return ""


def worker_alive(workspace: Path) -> bool:
    """Tell whether a worker lives, by the lock it holds."""
    return is_held(folder_of(workspace) / WORKER_LOCK)


def hold_app_lock(workspace: Path) -> None:
    """Say that an app is alive, until this process ends. Its worker stays ready as long."""
    folder = folder_of(workspace)
    with module_lock:
        if folder not in _app_locks:
            folder.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / APP_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(file, fcntl.LOCK_SH)  # several apps may look at one workspace
            _app_locks[folder] = file


def ensure_worker(workspace: Path) -> None:
    """Start a worker when none lives. It outlives this process."""
    folder = folder_of(workspace)
    with module_lock:
        _workers[:] = [one for one in _workers if one.poll() is None]
        lock = None if worker_alive(folder) else take(folder / WORKER_LOCK)
        if lock is None:
            return
        try:  # the lock goes over to the worker, so that no second one can start meanwhile
            _workers.append(_spawn_worker(folder, lock))
        finally:
            os.close(lock)


def _spawn_worker(folder: Path, lock: int) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-m", "jobs", "work", "--workspace", str(folder), "--lock", str(lock)]
    os.ftruncate(lock, 0)  # it names the worker before
    with worker_log(folder) as out:
        return subprocess.Popen(
            words, cwd=ROOT, env=environment_of_worker(), pass_fds=(lock,), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
        )  # fmt: skip


def worker_log(folder: Path) -> IO[bytes]:
    file = folder / "logs" / "worker.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size > LOG_BYTES:
        file.replace(file.with_suffix(".old.log"))
    return file.open("ab")
