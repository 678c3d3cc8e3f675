"""How many processes train a run, and the parent of several: it starts them, listens to them, ends them.

The number belongs to the machine, not to the recipe: one a GPU, one where there is none. One process is the
caller's own; several are started by `accelerate launch` (gradients are averaged over them, torch's
DistributedDataParallel). The caller holds the run's lock and listens:

    caller ──stdin (open while it lives)──► accelerate launch ──► training.rank 0 … N-1
           ◄──stdout: lines of JSON──────────────────────────────┘

Each rank is the leader of a session of its own (torch does that), out of reach of a signal to the launcher's
group, so each watches the end of its standard input, as jobs/child.py does. Their standard error is a log
that is locked until the last of them is gone: the next attempt waits for that. No torch here.
"""

import fcntl
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from curation import errors
from curation.errors import CurationError, WrongInput
from training import fit
from training.recipes import Settings
from training.run import LoraRun, TrainingFailed

Show = Callable[[str, int, int], None]
VARIABLE = "WINNOW_PROCESSES"
LOG = "processes.log"  # in the run's folder
ROOT = Path(__file__).resolve().parents[1]
CONFIG = Path(__file__).with_name("accelerate.yaml")
LOOK_SECONDS = 0.2  # how often the parent looks whether the launcher lives
GRACE_SECONDS = 5.0  # between the request to stop and SIGKILL; a worker gives us 10
LOST = "Lost"  # what a rank says when another one was gone: no reason by itself


@dataclass(frozen=True)
class Plan:
    """How many processes train, whether each has a GPU, and why they are fewer than was asked for."""

    number: int
    on_gpus: bool
    note: str | None = None


def planned(settings: Settings, given: int | None = None, gpus: int | None = None) -> Plan:
    """Say how many processes train: `given`, else WINNOW_PROCESSES, else one a GPU, else one.

    Never more than there are GPUs, and only as many as share a batch evenly: a step sees the recipe's rows
    whatever the number. Raises WrongInput for what is no number of processes.
    """
    gpus = visible_gpus() if gpus is None else gpus
    wanted = given if given is not None else _of_environment()
    if wanted is None:
        wanted = max(1, gpus)
    if wanted < 1:
        raise WrongInput(f"processes {wanted} must be at least 1")
    micro_batches = settings.batch // settings.micro_batch
    most = min(wanted, gpus or wanted, micro_batches)
    number = next(n for n in range(most, 0, -1) if micro_batches % n == 0)
    return Plan(number, gpus > 0, _why_fewer(settings, number, wanted, gpus))


def _why_fewer(settings: Settings, number: int, wanted: int, gpus: int) -> str | None:
    if number == wanted:
        return None
    told = f"Trains in {counted(number)}, not {wanted}: "
    if gpus and number == gpus:
        return f"{told}there {'are' if gpus > 1 else 'is'} {gpus} GPU{'s' if gpus > 1 else ''}"
    shares = settings.batch // settings.micro_batch
    return (
        f"{told}a step of batch {settings.batch} is {shares} times micro_batch {settings.micro_batch}, which "
        f"{min(wanted, gpus or wanted)} cannot share evenly"
    )


def counted(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def _of_environment() -> int | None:
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise WrongInput(f"{VARIABLE} {text!r} is no number of processes; set it to 1 or more, or not at all")
    return int(text)


def visible_gpus() -> int:
    """Count the GPUs that nvidia-smi tells of and CUDA_VISIBLE_DEVICES leaves, without torch."""
    number = len(fit.machine_memory()["gpus"])
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None or not number:
        return number
    names = [name.strip() for name in given.split(",")]
    named = next((n for n, name in enumerate(names) if name in ("", "-1")), len(names))  # CUDA stops there
    return min(number, named)


# --- the parent ---


def train(run: LoraRun, plan: Plan, show: Show) -> None:
    """Train a run in several processes; it has its result when this returns.

    Raises what one of them raised, and TrainingFailed when one died without a word. However it ends, none of
    them is left.
    """
    with _log(run, show) as log:
        ranks = _Ranks(run, plan, log)
        try:
            ranks.listen(show)
        except KeyboardInterrupt:
            ranks.interrupt()
            raise
        finally:
            ranks.end()
    if run.result is None:
        raise ranks.reason()


def wait_for_dying(run: LoraRun, show: Show) -> None:
    """Return when no process of an attempt is left whose parent was killed."""
    if (run.folder / LOG).exists():
        with _log(run, show):
            pass


@contextmanager
def _log(run: LoraRun, show: Show) -> Iterator[IO[bytes]]:
    """Open the log, emptied and locked: by us and by whoever inherits it, until all of them are gone."""
    with (run.folder / LOG).open("ab") as log:
        while True:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                show("waiting for processes of an earlier attempt to end", 0, 0)
                time.sleep(LOOK_SECONDS)
        log.truncate(0)
        yield log


class _Ranks:
    """The launcher and the processes it started, and what they said."""

    def __init__(self, run: LoraRun, plan: Plan, log: IO[bytes]) -> None:
        self._run = run
        self._number = plan.number
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._failures: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            command(run, plan), cwd=ROOT, env=_environment(plan), start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        self._listener = threading.Thread(target=self._read, name="ranks", daemon=True)
        self._listener.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)  # nobody is left who could say something

    def listen(self, show: Show) -> None:
        """Pass on what they say until they are done, or one gives a reason to end, or the launcher dies."""
        while True:
            try:
                line = self._lines.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                if self._process.poll() is None:
                    continue
                return
            said = _said(line)
            if line is None:
                return
            if isinstance(said, list):
                show(*said)
            elif isinstance(said, dict):
                self._failures.append(said)
                if said["kind"] != LOST:  # who lost another waits for its reason
                    return

    def interrupt(self) -> None:
        """Pass Ctrl-C on and give them time to leave."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)

    def end(self) -> None:
        """Kill who has not left after a moment, and return when all are gone."""
        if self._run.result is not None:
            self._listener.join(GRACE_SECONDS)
        if self._process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                left = psutil.Process(self._process.pid).children(recursive=True)
                os.killpg(self._process.pid, signal.SIGKILL)  # first: it must start no more of them
                for one in left:
                    with suppress(psutil.NoSuchProcess):
                        one.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()  # whom we did not find, or whose launcher died, dies of this
        self._listener.join()

    def reason(self) -> Exception:
        """Say why there is no result."""
        known = [one for one in self._failures if one["kind"] != LOST]
        if known:
            return _raised(known[0], self._run.folder / LOG)
        return TrainingFailed(
            f"One of the {self._number} processes ended without a word: it was killed, often because memory "
            f"ran out, and the others ended with it. `python -m training resume {self._run.name}` goes on "
            f"from the last checkpoint; {self._run.folder / LOG} may say more"
        )


def _said(line: bytes | None) -> Any:
    try:
        return json.loads(line or b"null")
    except ValueError:  # a library's, or cut off by a kill
        return None


def _raised(said: dict[str, Any], log: Path) -> Exception:
    """Make an exception again of what a rank said it was."""
    kind, message = str(said["kind"]), str(said["message"])
    if kind == "OSError":
        return OSError(said["errno"], message, said["file"])
    if kind == TrainingFailed.__name__:
        return TrainingFailed(message)
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, CurationError):
        return known(message)
    return RuntimeError(f"{kind}: {message}; {log} says where")


def command(run: LoraRun, plan: Plan) -> list[str]:
    """Write the command that starts the processes.

    `--multi_gpu` also without one: `accelerate launch --cpu` starts a single process whatever the number
    (accelerate 1.15; several would need mpirun). Each process then finds no GPU and talks by gloo.
    """
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) // plan.number)
    options = {
        "config_file": CONFIG, "num_processes": plan.number, "num_machines": 1, "machine_rank": 0,
        "main_process_port": 0, "gpu_ids": "all", "mixed_precision": "bf16" if plan.on_gpus else "no",
        "dynamo_backend": "no", "num_cpu_threads_per_process": threads,
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    notes = ["--note", plan.note] if plan.note else []
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *words, "-m", "training.rank",
        "--workspace", str(run.folder.parents[1].absolute()), *notes, run.name,
    ]  # fmt: skip


def _environment(plan: Plan) -> dict[str, str]:
    return dict(os.environ) if plan.on_gpus else {**os.environ, "ACCELERATE_USE_CPU": "true"}
