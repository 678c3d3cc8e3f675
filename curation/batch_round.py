"""Asks calls in batches and loses none: as large as the limits and the budget allow, each followed until its
files are read. A batch goes on at the teacher while nobody follows it; whoever asks next takes it up again.

What keeps it from being paid for twice: the batch is written down before its requests go up, the file's id
before it is created; a batch that may have been created is looked for at the teacher, by name and by file,
before another one is made.
"""

import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import IO, TypeVar

from curation.batch_lines import UNASKED, request_line
from curation.batch_log import BatchLog
from curation.budget import Budget
from curation.call_log import used_by
from curation.call_outcome import Outcome
from curation.call_round import Asked
from curation.stage import Progress
from curation.store import batches
from curation.store.batches import Ending
from curation.teacher import Call
from curation.teacher_batch import BatchTeacher, Look, Unanswered

MOST_CALLS = 50_000  # of one batch: OpenAI's limit
MOST_BYTES = 200_000_000  # of its file: OpenAI's "200 MB"
MOST_LINE = 16 << 20  # bytes of an answer's line; a longer one is read as pieces, which are no JSON
PAGE = 200  # calls written down, and lines read, at a time
SLOWEST = 60.0  # seconds between two looks at a batch, at most
SETTLE = 10.0  # seconds after which a batch just created is in the teacher's list
PATIENCE = 3_600.0  # seconds without any answer after which the run pauses: the batches go on
COMPLETED = "completed"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a batch may be, and how often it is looked at."""

    calls: int = MOST_CALLS
    slowest: float = SLOWEST
    patience: float = PATIENCE


def ask_in_batches(
    teacher: BatchTeacher,
    calls: Iterable[Call],
    log: BatchLog,
    budget: Budget,
    limits: BatchLimits,
    show: Progress,
    total: int,
) -> Asked:
    """Ask calls in batches until each is final or waits for another run; begin with batches that live.

    `budget` holds the worst case of living batches already. The first Ctrl-C ends it; batches go on at the
    teacher. Raises what the store raises.
    """
    round = _BatchRound(teacher, log, budget, limits, show, total)
    try:
        round.run(iter(calls))
    except KeyboardInterrupt as interrupt:
        # What it cut short may hold the write lock, and its traceback keeps that alive (see stage.py).
        traceback.clear_frames(interrupt.__traceback__)
        round.asked.is_stopped = True
    return round.asked


class _BatchRound:
    """One round in progress."""

    def __init__(
        self, teacher: BatchTeacher, log: BatchLog, budget: Budget, limits: BatchLimits, show: Progress,
        total: int,
    ) -> None:  # fmt: skip
        self.asked = Asked()
        self._teacher, self._log, self._budget, self._limits = teacher, log, budget, limits
        self._show, self._total = show, total
        self._looks: dict[str, Look] = {}  # of batches that are followed, by name
        self._held: Call | None = None  # taken, and there was no room for it
        self._final = 0
        self._without = 0  # calls whose batch ended without an answer

    def run(self, fresh: Iterator[Call]) -> None:
        for one in self._log.living():
            self._adopt(one.name, one.id, one.file_id)
        tries = 0
        while True:
            while self.asked.paused is None and (name := self._write(fresh)) is not None:
                self._send(name)
                tries = 0
            if not self._looks:
                break
            self._follow()
            if self._looks:
                time.sleep(self._pause(tries))
                tries += 1
        if self._held is not None:
            self._pause_with("budget", self._budget.used_up(self._held.worst_in + self._held.worst_out))
        if self._without:
            told = f"Calls that got no answer in their batch: {self._without:,}. Go on to ask them again"
            self._pause_with("no_answer", told)

    def _pause_with(self, reason: str, message: str) -> None:
        if self.asked.paused is None:
            self.asked.reason, self.asked.paused = reason, message

    # --- making a batch ---

    def _write(self, fresh: Iterator[Call]) -> str | None:
        """Write a batch down, as large as it may be; None: nothing is left, or nothing fits."""
        name, taken = None, self._taken(fresh)
        while page := list(islice(taken, PAGE)):
            name = name or self._log.begin()
            self._log.add(name, page)
        return name

    def _taken(self, fresh: Iterator[Call]) -> Iterator[Call]:
        """Give the calls of one batch, the worst case of each reserved."""
        ids, size = set[str](), 0
        while len(ids) < self._limits.calls:
            call, self._held = self._held or next(fresh, None), None
            if call is None:
                return
            if call.id in ids:  # asked about twice: the reply will do for both
                continue
            size += len(request_line(call))
            if size > MOST_BYTES or not self._budget.reserve(call.worst_in, call.worst_out):
                self._held = call
                return
            ids.add(call.id)
            yield call

    def _send(self, name: str) -> None:
        try:
            with tempfile.TemporaryFile() as requests:
                number = self._put_requests(name, requests)
                file_id = self._patiently(lambda: self._upload(name, requests))
        except Unanswered as error:
            return self._refused(name, error)
        self._log.uploaded(name, file_id)
        self._create(name, file_id, may_exist=False, calls=number)

    def _put_requests(self, name: str, into: IO[bytes]) -> int:
        return sum(into.write(request_line(call)) > 0 for call in self._log.calls(name))

    def _upload(self, name: str, requests: IO[bytes]) -> str:
        self._show("sending a batch up", self._final, self._total)
        requests.seek(0)
        return self._teacher.upload(name, requests)

    def _create(self, name: str, file_id: str, may_exist: bool, calls: int = 0) -> None:
        """Make a batch of a file unless it is there already; follow it."""
        is_refused = False  # by the last answer: it is not there

        def once() -> Look:
            nonlocal may_exist, is_refused
            is_refused = False
            found = self._find(name, file_id) if may_exist else None
            if found is not None:
                return found
            try:
                return self._teacher.create(name, file_id)
            except Unanswered as error:
                is_refused = error.is_undone
                may_exist = may_exist or not is_refused  # an earlier try may show up late
                raise

        try:
            look = self._patiently(once)
        except Unanswered as error:
            if is_refused:
                return self._refused(name, error)
            # Nobody knows whether it is there: the next run looks again.
            return self._pause_with(error.outcome.reason, error.outcome.message)
        self._log.created(name, look.id)
        self._looks[name] = look
        self.asked.attempts += calls

    def _find(self, name: str, file_id: str) -> Look | None:
        """Look for a batch twice: one that was created a moment ago may not be listed yet."""
        found = self._teacher.find(name, file_id)
        if found is None:
            time.sleep(min(SETTLE, self._limits.slowest))
            found = self._teacher.find(name, file_id)
        return found

    def _refused(self, name: str, error: Unanswered) -> None:
        """Free the calls of a batch that the teacher surely has not got."""
        message = error.outcome.message
        self._pause_with(error.outcome.reason, message)
        self._end(name, _ending(batches.REFUSED, message), Counter())

    # --- following it ---

    def _adopt(self, name: str, id: str | None, file_id: str | None) -> None:
        """Take up a batch of an earlier run."""
        if id is not None:
            self._looks[name] = Look(id, "taken up again")
        elif file_id is not None:
            self._create(name, file_id, may_exist=True)

    def _follow(self) -> None:
        """Look at every batch once; read the files of those that are over."""
        for name, old in list(self._looks.items()):
            try:
                look = self._patiently(partial(self._teacher.look, old.id))
                self._looks[name] = look
                if look.is_over:
                    del self._looks[name]
                    self._collect(name, look)
            except Unanswered as error:  # it stays on record, and is taken up again
                self._pause_with(error.outcome.reason, f"Batch {old.id}: {error.outcome.message}")
                self._looks.pop(name, None)
        self._tell("waiting for batches")

    def _tell(self, what: str) -> None:
        counted = [(one.answered + one.failed, one.total) for one in self._looks.values()]
        there, of = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0)
        states = Counter(one.status for one in self._looks.values())
        said = ", ".join(f"{n} {status}" for status, n in states.items())
        words = f"{what} ({said}; the teacher says {there:,} of {of:,})" if said else "reading replies"
        self._show(words, self._final + there, self._total)

    def _collect(self, name: str, look: Look) -> None:
        told, seen = Counter[str](), set[str]()
        for file_id in look.files:
            with tempfile.TemporaryFile() as file:
                self._patiently(partial(self._teacher.download, file_id, file))
                self._read(name, file, seen, told)
        message = None if look.status == COMPLETED else _told(look)
        self._end(name, _ending(look.status, message), told)
        if message is not None:
            self._pause_with(f"batch_{look.status}", message)

    def _read(self, name: str, file: IO[bytes], seen: set[str], told: Counter[str]) -> None:
        lines = iter(lambda: file.readline(MOST_LINE), b"")
        while page := [one.decode("utf-8", "replace") for one in islice(lines, PAGE)]:
            for call, outcome in self._log.answer(name, page, self._teacher.without_key, seen, told):
                self._settle(call, outcome)
            self._tell("reading replies")

    def _settle(self, call: Call, outcome: Outcome) -> None:
        self._budget.settle((call.worst_in, call.worst_out), used_by(call, outcome))
        if outcome.kind == "stop":
            self._pause_with(outcome.reason, outcome.message)
        if outcome.kind in ("done", "failed"):
            self._final += 1
        elif outcome.reason not in UNASKED:
            self._without += 1

    def _end(self, name: str, ending: Ending, told: Counter[str]) -> None:
        left = self._log.end(name, ending, told)
        worst = (left.worst_in, left.worst_out)
        self._budget.settle(worst, worst if ending.is_lost else (0, 0))
        self._without += left.calls if ending.is_lost else 0

    # --- waiting ---

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do something until it is answered. Raises Unanswered when trying again would not help."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                return act()
            except Unanswered as error:
                outcome = error.outcome
                if outcome.kind != "later" or time.monotonic() - began > self._limits.patience:
                    raise
                self._show(f"trying again: {outcome.message}", self._final, self._total)
                time.sleep(min(max(outcome.wait or 0.0, self._pause(tries)), self._limits.patience))
                tries += 1

    def _pause(self, tries: int) -> float:
        """Give the seconds before another look: 1, 2, 4 ... 60."""
        return min(self._limits.slowest, 2.0 ** min(tries, 10))


def _ending(state: str, message: str | None) -> Ending:
    """Say what an end means for calls without an answer. Of a completed batch they may have been answered."""
    why = message or "Its batch was completed, and no line of its files answers this call"
    return Ending(state, message, f"batch_{state}" if message else "no_line", why, is_lost=message is None)


def _told(look: Look) -> str:
    """Tell a person how a batch ended that was not completed, and what is assumed of its price."""
    why = f": {look.message}" if look.message else ""
    return (
        f"The teacher's batch {look.id} is {look.status}{why}. What it did not answer waits, and is taken as "
        "not billed: completed work alone is. Go on to ask it again"
        + (", in smaller batches (--batch-size) if it was too large" if look.status == "failed" else "")
    )
