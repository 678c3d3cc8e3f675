"""What the terminal is told of jobs: `python -m jobs list`, `stop` and `after`."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from jobs.alive import WORKER_LOCK, worker_alive, worker_name
from jobs.child import GRACE_SECONDS
from jobs.queue import Job, active, jobs


def show_list(folder: Path) -> int:
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
        name = worker_name(folder)
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
