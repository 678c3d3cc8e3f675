"""The process that answers for a run, seen from the app (Desk, ChatProcess, Talk) and from within (serve).

The app never loads torch; this process does. Down its standard input go lines of JSON: a question, or the
wish to stop one. The end of that input means that the app died or wants no more. Up its standard output come
lines of JSON: pieces and answers as they come. What libraries print goes to logs/chat.log.
"""

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from curation.errors import CurationError, WrongInput
from curation.file_lock import is_held, tried
from curation.workspace import Workspace
from training import run as runs
from training.base_model import practice_folder
from training.chat import SIDES, Chat, Piece, Sampling, check_question

ROOT = Path(__file__).resolve().parents[1]
LOCK = "chat.lock"  # in a run's folder: held by the process that answers for it
IDLE_SECONDS = 600.0  # without a question, before the process gives its memory back
LEAVE_SECONDS = 3.0  # that a process has to end by itself before it is killed
ABANDONED_SECONDS = 90.0  # a hidden tab looks at least once a minute; a closed one never
MOST_WAITING = 8  # questions; a tab that asks more is told to wait
LOG_BYTES = 1_000_000  # the log begins anew above this
LOADING, WAITING, ANSWERING, OVER = "loading", "waiting", "answering", "over"
KILLED = -9


# --- the app's side ---


class Talk:
    """A question, and what came of it so far. A listener writes into it, pages read it."""

    def __init__(self, number: int, run: str) -> None:
        self.number = number
        self.run = run
        self.texts = dict.fromkeys(SIDES, "")
        self.answers: dict[str, dict[str, Any]] = {}  # `Answer.told`, by side
        self.error: str | None = None  # one line for a person
        self.state = LOADING  # loading | waiting | answering | over
        self._over = threading.Event()
        self._looked_at = time.monotonic()

    def look(self) -> None:
        """Say that somebody still waits for it: a page does, as often as it draws it."""
        self._looked_at = time.monotonic()

    @property
    def is_watched(self) -> bool:
        return not self.is_over and time.monotonic() - self._looked_at < ABANDONED_SECONDS

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end. Gives whether it is over."""
        return self._over.wait(seconds)

    def end(self, error: str | None = None) -> None:
        if not self.is_over:
            self.error = error
            self.state = OVER
            self._over.set()


class ChatProcess:
    """A living process that answers for one run, and the questions it has not answered yet."""

    def __init__(self, folder: Path, run: str, idle: float, environment: Mapping[str, str]) -> None:
        self.run = run
        self.is_ready = False
        self._talks: dict[int, Talk] = {}
        self._failed: str | None = None
        self._guard = threading.Lock()  # of the talks, between listener and tabs
        self._writing = threading.Lock()
        words = ["--workspace", str(folder), "--idle", str(idle), run]
        with _log(folder) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training.chat_process", *words],
                cwd=ROOT, env=dict(environment), start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        threading.Thread(target=self._listen, name=f"chat {run}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def waiting(self) -> list[Talk]:
        """Give the questions that are not answered yet, the one that is being answered among them."""
        with self._guard:
            return list(self._talks.values())

    def ask(self, talk: Talk, question: Mapping[str, Any]) -> bool:
        """Put a question; it waits for those before it. Gives False when the process is gone.

        The talk is noted before the question is written: whatever the process read, the listener answers for.
        """
        with self._guard:
            self._talks[talk.number] = talk
            talk.state = WAITING if self.is_ready else LOADING
        if self._say({"ask": talk.number, **question}):
            return True
        with self._guard:
            self._talks.pop(talk.number, None)
        return False

    def stop(self, talk: Talk) -> None:
        """End an answer after the token that is being made; of one that waits, before it begins."""
        self._say({"stop": talk.number})

    def close(self) -> None:
        """End it: by the end of its input, and by SIGKILL when it does not leave."""
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, message: Mapping[str, Any]) -> bool:
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(json.dumps(message).encode() + b"\n")
                self._process.stdin.flush()
        except (OSError, ValueError):  # it ended, or was closed
            return False
        return True

    def _listen(self) -> None:
        """Take down what it says until it ends; then no question may stay open."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(ValueError):  # cut off by a kill
                self._note(json.loads(line))
        status = self._process.wait()
        with self._guard:
            left = list(self._talks.values())
            self._talks.clear()
        for talk in left:
            talk.end(self._failed or _died_of(status))

    def _note(self, said: Mapping[str, Any]) -> None:
        if "failed" in said:
            self._failed = str(said["failed"])
        elif "ready" in said:
            with self._guard:
                self.is_ready = True
                for talk in self._talks.values():
                    talk.state = WAITING
        else:
            with self._guard:
                talk = self._talks.get(said["talk"])  # type: ignore[assignment]
                if "over" in said or "error" in said:
                    self._talks.pop(said["talk"], None)
            if talk is not None:
                _note_of(talk, said)


def _note_of(talk: Talk, said: Mapping[str, Any]) -> None:
    """Take down what was said of one question."""
    if "error" in said:
        talk.end(str(said["error"]))
    elif "over" in said:
        talk.end()
    elif "piece" in said:
        talk.texts[said["side"]] += said["piece"]
    elif "answer" in said:
        talk.texts[said["side"]] = said["answer"]["text"]
        talk.answers[said["side"]] = said["answer"]
    else:
        talk.state = ANSWERING


def _died_of(status: int) -> str:
    if status == KILLED:
        return (
            "The process that answers was killed (signal 9), often because memory ran out; "
            "ask again and a new one starts"
        )
    if status < 0:
        return f"The process that answers was ended by signal {-status}; ask again and a new one starts"
    return (
        f"The process that answers ended with status {status} before it answered; ask again and a new one "
        "starts. logs/chat.log may say more"
    )


class Desk:
    """Where all tabs of an app ask: at most one process of a workspace lives, for one run."""

    def __init__(
        self, folder: Path, idle: float = IDLE_SECONDS, environment: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.process: ChatProcess | None = None
        self._idle = idle
        self._environment = os.environ if environment is None else environment
        self._guard = threading.Lock()
        self._asked = 0

    def ask(self, run: str, instruction: str, input: str, sampling: Sampling) -> Talk:
        """Put a question to a run. The process of another run is ended first; a dead one is replaced.

        Gives at once. Raises WrongInput for a question that cannot be one, when another run is answering now,
        or when too many questions wait.
        """
        check_question(instruction, input)
        question = {"instruction": instruction, "input": input, "sampling": asdict(sampling)}
        with self._guard:
            for _ in range(2):  # it may end for want of questions in the very moment one comes
                self._asked += 1
                talk = Talk(self._asked, run)
                if self._for(run).ask(talk, question):
                    return talk
                self._end()
        raise WrongInput("The process that answers cannot be started; logs/chat.log may say why")

    def _for(self, run: str) -> ChatProcess:
        process = self.process
        if process is not None and process.is_alive:
            waiting = process.waiting()
            if process.run == run:
                if len(waiting) >= MOST_WAITING:
                    raise WrongInput(f"{len(waiting)} questions wait already; ask again when one is answered")
                return process
            if any(talk.is_watched for talk in waiting):
                raise WrongInput(
                    f"{process.run} is answering, perhaps in another tab; one run answers at a time: "
                    "stop it there, or ask again when it is done"
                )
        self._end()
        self.process = ChatProcess(self.folder, run, self._idle, self._environment)
        return self.process

    def stop(self, talk: Talk) -> None:
        """End the answers of a question; what came so far stays."""
        process = self.process
        if process is not None and not talk.is_over:
            process.stop(talk)

    def close(self) -> None:
        """End the process, when there is one."""
        with self._guard:
            self._end()

    def _end(self) -> None:
        if self.process is not None:
            self.process.close()
            self.process = None


@contextmanager
def _log(folder: Path) -> Any:
    file = folder / "logs" / "chat.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    is_long = file.exists() and file.stat().st_size > LOG_BYTES
    with file.open("wb" if is_long else "ab") as opened:
        yield opened


# --- within ---


class _Inbox:
    """Reads standard input in a thread: questions wait in line, a wish to stop counts at once."""

    def __init__(self, lines: IO[bytes], at_end: Callable[[], None]) -> None:
        self.questions: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stopped: set[int] = set()
        self._lines, self._at_end = lines, at_end
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            message = json.loads(line)
            if "stop" in message:
                self.stopped.add(int(message["stop"]))
            else:
                self.questions.put(message)
        self._at_end()


def serve(folder: Path, name: str, idle: float) -> int:
    """Answer for a run until the app is gone or nobody asks for `idle` seconds. Gives the exit status."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to the log

    def say(**said: Any) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    # The app is gone, or wants no more: an answer that is being made has no reader.
    inbox = _Inbox(sys.stdin.buffer, lambda: os._exit(0))
    try:
        workspace = Workspace(folder)
        with _alone(runs.find(workspace, name)):
            chat = Chat.load(workspace, name)
            say(ready=chat.about())
            _answer_all(workspace, chat, inbox, idle, say)
    except Exception as error:
        say(failed=_told(error))
        return 1
    return 0


@contextmanager
def _alone(run: runs.LoraRun) -> Any:
    """Hold the run for this process; one that was told to end may take a moment to let go."""
    until = time.monotonic() + LEAVE_SECONDS
    while True:
        with tried(run.folder / LOCK) as ours:
            if ours:
                yield
                return
        if time.monotonic() > until:
            raise WrongInput(
                f"Another app answers for {run.name} on this workspace; it lets go {IDLE_SECONDS / 60:.0f} "
                "minutes after its last question"
            )
        time.sleep(0.1)


def _answer_all(workspace: Workspace, chat: Chat, inbox: _Inbox, idle: float, say: Any) -> None:
    import torch

    own = torch.get_num_threads()
    while True:
        try:
            asked = inbox.questions.get(timeout=idle)
        except queue.Empty:
            return
        torch.set_num_threads(threads_beside(workspace, own))
        _answer_one(chat, inbox, asked, say)


def _answer_one(chat: Chat, inbox: _Inbox, asked: Mapping[str, Any], say: Any) -> None:
    number = int(asked["ask"])
    say(talk=number)
    sampling = Sampling.of(asked["sampling"])
    try:
        for one in chat.answers(
            asked["instruction"], asked["input"], sampling, lambda: number in inbox.stopped
        ):
            if isinstance(one, Piece):
                say(talk=number, side=one.side, piece=one.text)
            else:
                say(talk=number, side=one.side, answer=one.told())
        say(talk=number, over=True)
    except Exception as error:
        say(talk=number, error=_told(error))


def threads_beside(workspace: Workspace, own: int) -> int:
    """Say on how many threads to answer: one while something is trained here, which must not be slowed."""
    made = practice_folder(workspace)
    is_training = is_held(made.with_name(f"{made.name}.lock")) or any(
        is_held(lock) for lock in (workspace.folder / "runs").glob(f"*/{runs.LOCK}")
    )
    return 1 if is_training else own


def _told(error: Exception) -> str:
    """Say in one line what went wrong; what nobody expected goes to the log in full."""
    if isinstance(error, CurationError):
        return str(error)
    traceback.print_exc()
    if _is_memory(error):
        return "Memory ran out; ask for fewer tokens or a shorter question, or close other programs"
    return f"Something unexpected went wrong ({type(error).__name__}); logs/chat.log says where"


def _is_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    from training.trainer import explain_memory

    return explain_memory(error)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.chat_process", description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS)
    given = parser.parse_args(arguments)
    return serve(given.workspace, given.run, given.idle)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # at once: a question that comes while Python tidies up would be read by nobody
