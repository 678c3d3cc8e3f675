"""Asks many calls at once and loses none: as many as the teacher bears and the budget allows, each until it
is answered, cannot be, or everything has to wait for a person."""

import asyncio
import heapq
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from curation.budget import Budget
from curation.call_log import Answered, CallLog, used_by
from curation.call_outcome import Outcome
from curation.stage import Progress
from curation.teacher import Call, Teacher
from curation.throttle import Throttle

ATTEMPTS = 8  # of one call in one run; an answer of "too fast" is none
PATIENCE = 600.0  # seconds without any answer after which the run pauses; waiting that was asked for is none
DRAIN = 6.0  # seconds that calls in flight get when a person stops: a worker is killed after 7
BAD_IN_A_ROW = 10  # unusable replies before the first good one: that is no teacher
UNUSABLE = ("bad_response", "refused_request")
LOOK = 0.25  # seconds between two looks at the clock


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard a teacher may be asked."""

    concurrency: int = 32
    deadline: float = 120.0  # seconds for one attempt, whole
    attempts: int = ATTEMPTS
    patience: float = PATIENCE


@dataclass
class Asked:
    """What a round came to. `paused`: why it stopped before its end, for people; None: it did not."""

    attempts: int = 0
    paused: str | None = None
    reason: str | None = None  # of the pause, in a word
    is_stopped: bool = False  # by a person
    at_once: int = 0  # most calls in flight


def ask_all(
    teacher: Teacher,
    calls: Iterable[Call],
    log: Callable[[], CallLog],
    budget: Budget,
    limits: Limits,
    show: Progress,
    total: int,
) -> Asked:
    """Ask calls until each is final or the round pauses. The first Ctrl-C lets calls in flight end.

    Raises what the store raises.
    """
    return asyncio.run(_ask(teacher, calls, log, budget, limits, show, total))


async def _ask(
    teacher: Teacher, calls: Iterable[Call], log: Callable[[], CallLog], budget: Budget, limits: Limits,
    show: Progress, total: int,
) -> Asked:  # fmt: skip
    async with teacher:
        with log() as opened:
            round = _Round(teacher, opened, budget, limits, show, total)
            with _stopped_by_ctrl_c(round.stop):
                await round.run(iter(calls))
    return round.asked


@contextmanager
def _stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@dataclass(order=True, slots=True)
class _Again:
    """A call that is to be tried again."""

    at: float
    number: int
    call: Call = field(compare=False)
    tries: int = field(compare=False)


class _Round:
    """One round in progress. All of it runs in one event loop, so that nothing needs a lock."""

    def __init__(
        self, teacher: Teacher, log: CallLog, budget: Budget, limits: Limits, show: Progress, total: int
    ) -> None:
        self.asked = Asked()
        self._teacher, self._log, self._budget, self._limits = teacher, log, budget, limits
        self._show, self._total = show, total
        self._throttle = Throttle(limits.concurrency)
        self._fresh: Iterator[Call] = iter(())
        self._has_no_fresh = False
        self._flying: set[asyncio.Task[None]] = set()
        self._again: list[_Again] = []
        self._number = itertools.count()
        self._final = 0
        self._good = self._bad = 0
        self._answered_at = time.monotonic()
        self._held: tuple[Call, int] | None = None  # taken, and the budget has no room for it now
        self._wake = asyncio.Event()
        self._error: BaseException | None = None

    def stop(self) -> None:
        self.asked.is_stopped = True
        self._wake.set()

    async def run(self, fresh: Iterator[Call]) -> None:
        self._fresh = fresh
        while not self._is_over:
            while len(self._flying) < int(self._throttle.limit) and (taken := self._next()) is not None:
                task = asyncio.create_task(self._slot(*taken))
                self._flying.add(task)
                task.add_done_callback(self._landed)
                self.asked.at_once = max(self.asked.at_once, len(self._flying))
            if not self._flying and self._held is not None and time.monotonic() >= self._throttle.open_at:
                call = self._held[0]
                self._pause_with("budget", self._budget.used_up(call.worst_in + call.worst_out))
            elif not self._flying and not self._again and self._held is None and self._has_no_fresh:
                break
            await self._pause()
        await self._drain()
        if self._error is not None:
            raise self._error

    @property
    def _is_over(self) -> bool:
        return self.asked.paused is not None or self.asked.is_stopped or self._error is not None

    def _next(self) -> tuple[Call, int] | None:
        """Take the next call that may be sent now, its worst case reserved; None: none may."""
        now = time.monotonic()
        taken = None if self._is_over or now < self._throttle.open_at else self._take(now)
        if taken is not None and not self._budget.reserve(taken[0].worst_in, taken[0].worst_out):
            self._held, taken = taken, None
        return taken

    def _take(self, now: float) -> tuple[Call, int] | None:
        if self._held is not None:
            taken, self._held = self._held, None
            return taken
        if self._again and self._again[0].at <= now:
            one = heapq.heappop(self._again)
            return one.call, one.tries
        call = None if self._has_no_fresh else next(self._fresh, None)
        self._has_no_fresh = call is None
        return None if call is None else (call, 0)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._flying.discard(task)
        error = None if task.cancelled() else task.exception()
        self._error = self._error or error
        self._wake.set()

    async def _slot(self, call: Call, tries: int) -> None:
        """Send calls, one after the other. An answer and the row of the call that follows it are written in
        one commit, so that what flies or is not yet on the disk is never more than the slots."""
        await self._log.write(None, call)
        while True:
            outcome, seconds = await self._attempt(call)
            outcome = self._given_up(outcome, tries)
            self._note(call, outcome, tries)
            has_room = len(self._flying) <= int(self._throttle.limit)
            following = self._next() if has_room else None
            await self._log.write(Answered(call, outcome, seconds), following[0] if following else None)
            if following is None:
                return
            call, tries = following

    async def _attempt(self, call: Call) -> tuple[Outcome, float]:
        reserved = (call.worst_in, call.worst_out)
        used = reserved  # what an attempt that is given up may have cost
        self.asked.attempts += 1
        began = time.monotonic()
        try:
            outcome = await self._teacher.ask(call)
            used = used_by(call, outcome)
        finally:
            self._budget.settle(reserved, used)
        return outcome, time.monotonic() - began

    def _given_up(self, outcome: Outcome, tries: int) -> Outcome:
        """Make a call that failed too often a failed one; being too fast is not its fault."""
        if outcome.kind != "later" or outcome.is_limit or tries + 1 < self._limits.attempts:
            return outcome
        told = f"gave up after {tries + 1} attempts: {outcome.message}"
        return Outcome("failed", f"gave_up_{outcome.reason}", told, may_be_billed=outcome.may_be_billed)

    def _note(self, call: Call, outcome: Outcome, tries: int) -> None:
        now = time.monotonic()
        if outcome.kind == "stop":
            self._pause_with(outcome.reason, outcome.message)
        elif outcome.kind == "later":
            self._try_again(call, outcome, tries, now)
        else:
            self._final += 1
            self._judge_teacher(outcome, now)
            self._show("asking the teacher", self._final, self._total)

    def _try_again(self, call: Call, outcome: Outcome, tries: int, now: float) -> None:
        if outcome.is_limit:
            self._throttle.too_fast(now, outcome.wait)
        else:
            self._throttle.broken(now, outcome.wait)
            tries += 1
        wait = self._throttle.backoff(tries) if outcome.wait is None else outcome.wait
        heapq.heappush(self._again, _Again(now + wait, next(self._number), call, tries))
        quiet_since = max(self._answered_at, self._throttle.asked_until)
        if now - quiet_since > self._limits.patience:
            told = f"The teacher did not answer for {now - quiet_since:,.0f} s: {outcome.message}"
            self._pause_with("no_answer", told)

    def _judge_teacher(self, outcome: Outcome, now: float) -> None:
        """Note an answer; a place that never gave a usable one is left alone."""
        self._answered_at = now
        if outcome.kind == "done":
            self._good += 1
            self._throttle.well()
            return
        self._bad += 1
        if not self._good and self._bad >= BAD_IN_A_ROW and outcome.reason in UNUSABLE:
            told = f"None of the first {self._bad} replies could be used: {outcome.message}"
            self._pause_with(outcome.reason, told)

    def _pause_with(self, reason: str, message: str) -> None:
        if self.asked.paused is None:
            self.asked.reason = reason
            self.asked.paused = message

    async def _pause(self) -> None:
        """Wait until something ends, or may begin."""
        now = time.monotonic()
        if self._throttle.open_at - now > 2:
            left = self._throttle.open_at - now
            self._show(f"waiting {left:,.0f} s, as the teacher asked", self._final, self._total)
        times = [self._throttle.open_at] if self._throttle.open_at > now else []
        times += [self._again[0].at] if self._again else []
        wait = min([LOOK * 4, *(max(0.005, at - now) for at in times)])
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait)
        self._wake.clear()

    async def _drain(self) -> None:
        """Let what flies end, so that nothing paid for is lost; then give the rest up."""
        until = time.monotonic() + (DRAIN if self.asked.is_stopped else self._limits.deadline + DRAIN)
        while self._flying and time.monotonic() < until and self._error is None:
            await asyncio.wait(list(self._flying), timeout=LOOK)
        for task in list(self._flying):
            task.cancel()
        if self._flying:
            await asyncio.wait(list(self._flying), timeout=DRAIN)
