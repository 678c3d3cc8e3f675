"""The process that does one job, seen from its worker (Child) and from within (run_child).

Down its standard input go step and settings, one line; the end of that input means that the worker died. Up
its standard output come lines of JSON: [what, done, total] now and then, and in the end what came of it.
Everything else that it or a library prints goes to the job's log.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from curation.errors import CurationError, StageCancelled, WrongInput
from curation.teacher_key import hide_keys_in_logs
from curation.workspace import Workspace
from jobs.alive import ROOT, log_of
from jobs.keys import environment, without_secrets, without_secrets_in
from jobs.steps import STEPS, Outcome, Settings, Show, check, title_of

SHOW_SECONDS = 0.2  # how often a child says how far it is
GRACE_SECONDS = 10.0  # between the request to stop and SIGKILL


# --- the worker's side ---


class Child:
    """The process that does a job's work, and the last thing it said."""

    def __init__(self, folder: Path, job_id: str, step: str, settings: Settings) -> None:
        """Start it. The job's log is locked, by us and by the child, until neither holds it."""
        path = log_of(folder, job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            fcntl.flock(out, fcntl.LOCK_EX)  # waits for a child that a killed worker left dying
            out.write(f"--- {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {title_of(step, settings)}\n".encode())
            out.flush()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobs", "run", "--workspace", str(folder)],
                cwd=ROOT, env=environment(step), start_new_session=True,
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
        return {"ok": False, "kind": "Died", "message": died_of(self._process.returncode)}


def died_of(status: int) -> str:
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


# --- within ---


class _Teller:
    """Says how far the work is, as JSON lines, five a second at most, and in the end what it came to."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._said_at = 0.0
        self._unsaid: list[Any] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        self._unsaid = [what, int(done), int(total or 0)]
        if time.monotonic() - self._said_at >= SHOW_SECONDS:
            self._say(self._unsaid)

    def finish(self, outcome: Outcome) -> None:
        if self._unsaid is not None:
            self._say(self._unsaid)
        self._say(outcome)

    def _say(self, something: Any) -> None:
        self._out.write(json.dumps(without_secrets_in(something)) + "\n")
        self._out.flush()
        self._said_at, self._unsaid = time.monotonic(), None


def run_child(folder: Path) -> int:
    """Do the job that standard input names; SIGINT stops it as Ctrl-C would. Gives the exit status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
    teller = _Teller(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # whatever libraries print goes to the log
    hide_keys_in_logs()
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
        check(step, settings)
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
    return {"ok": False, "kind": kind, "message": message}


def _log_traceback() -> None:
    sys.stderr.write(without_secrets(traceback.format_exc()))
    sys.stderr.flush()
