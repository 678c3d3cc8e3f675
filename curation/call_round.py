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
from dataclasses import dataclass, field, replace

from curation.budget import Budget
from curation.call_log import Answered, CallLog, used_by
from curation.call_outcome import UNREACHABLE, Outcome
from curation.stage import Progress
from curation.teacher import Call, Teacher
from curation.throttle import FIRST, FIRST_WAIT, LONGEST, Throttle

ATTEMPTS = 8  # of one call in one run; "too fast" is none, nor is a connection that was never made
PATIENCE = 600.0  # seconds without any answer after which the run pauses; waiting that was asked for is none
# The same before anybody answered, of a place that takes no connection: a mistyped address, or a teacher that
# was not started. A person looks on then, and goes on when it is there.
FIRST_PATIENCE = 60.0
QUIET = 5.0  # seconds without an answer after which people are told why
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
    first_patience: float = FIRST_PATIENCE
    first_wait: float = FIRST_WAIT
    drain: float = DRAIN


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
    passes: Iterable[Iterator[Call]],
    log: Callable[[], CallLog],
    budget: Budget,
    limits: Limits,
    show: Progress,
    total: int,
) -> Asked:
    """Ask calls until each is final or the round pauses. The first Ctrl-C lets calls in flight end.

    A pass begins when every call of the one before is final. Raises what the store raises.
    """
    return asyncio.run(_ask(teacher, passes, log, budget, limits, show, total))


async def _ask(
    teacher: Teacher, passes: Iterable[Iterator[Call]], log: Callable[[], CallLog], budget: Budget,
    limits: Limits, show: Progress, total: int,
) -> Asked:  # fmt: skip
    async with teacher:
        with log() as opened:
            round = _Round(teacher, opened, budget, limits, show, total)
            with _stopped_by_ctrl_c(round.stop):
                await round.run(passes)
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


@dataclass(frozen=True, slots=True)
class _Turn:
    """A call whose turn it is, and what came of it before."""

    call: Call
    tries: int = 0  # that count
    failing_since: float | None = None
    refused_at: float = 0.0  # "too fast", last
    outrun: int = 0  # times that it was refused again although others were answered meanwhile


@dataclass(order=True, slots=True)
class _Again:
    """A call that is to be tried again."""

    at: float
    number: int
    turn: _Turn = field(compare=False)


class _Round:
    """One round in progress. All of it runs in one event loop, so that nothing needs a lock."""

    def __init__(
        self, teacher: Teacher, log: CallLog, budget: Budget, limits: Limits, show: Progress, total: int
    ) -> None:
        self.asked = Asked()
        self._teacher, self._log, self._budget, self._limits = teacher, log, budget, limits
        self._show, self._total = show, total
        self._throttle = Throttle(limits.concurrency, limits.first_wait)
        self._fresh: Iterator[Call] = iter(())
        self._has_no_fresh = False
        self._flying: set[asyncio.Task[None]] = set()
        self._again: list[_Again] = []
        self._number = itertools.count()
        self._final = 0
        self._good = self._bad = 0
        self._answered_at = time.monotonic()
        self._is_met = False  # somebody is there: an answer of any kind came
        self._refusals = 0  # "too fast", since the last answer
        self._asked_for = 0.0  # seconds of waiting that the teacher asked for since then
        self._others_first = False  # a call that was refused again lets one that was not pass
        self._held: _Turn | None = None  # taken, and the budget has no room for it now
        self._wake = asyncio.Event()
        self._error: BaseException | None = None

    def stop(self) -> None:
        self.asked.is_stopped = True
        self._wake.set()

    async def run(self, passes: Iterable[Iterator[Call]]) -> None:
        for fresh in passes:
            self._fresh, self._has_no_fresh = fresh, False
            await self._pass()
            if self._is_over:
                break
            await self._log.settle()  # the next pass may depend on what is made of the answers
        await self._drain()
        if self._error is not None:
            raise self._error

    async def _pass(self) -> None:
        while not self._is_over:
            while len(self._flying) < int(self._throttle.limit) and (turn := self._next()) is not None:
                task = asyncio.create_task(self._slot(turn))
                self._flying.add(task)
                task.add_done_callback(self._landed)
                self.asked.at_once = max(self.asked.at_once, len(self._flying))
            if not self._flying and self._held is not None and time.monotonic() >= self._throttle.open_at:
                call = self._held.call
                self._pause_with("budget", self._budget.used_up(call.worst_in + call.worst_out))
            elif not self._flying and not self._again and self._held is None and self._has_no_fresh:
                return
            await self._pause()

    @property
    def _is_over(self) -> bool:
        return self.asked.paused is not None or self.asked.is_stopped or self._error is not None

    def _next(self) -> _Turn | None:
        """Take the next call that may be sent now, its worst case reserved; None: none may."""
        now = time.monotonic()
        turn = None if self._is_over or now < self._throttle.open_at else self._take(now)
        if turn is not None and not self._budget.reserve(turn.call.worst_in, turn.call.worst_out):
            self._held, turn = turn, None
        return turn

    def _take(self, now: float) -> _Turn | None:
        if self._held is not None:
            turn, self._held = self._held, None
            return turn
        is_due = bool(self._again) and self._again[0].at <= now
        # Not for ever more of them: a teacher that refuses all would see every call once before any again.
        lets_pass = self._others_first and len(self._again) <= max(FIRST, self._limits.concurrency)
        if is_due and not lets_pass:
            return heapq.heappop(self._again).turn
        self._others_first = False
        call = None if self._has_no_fresh else next(self._fresh, None)
        self._has_no_fresh = call is None
        if call is not None:
            return _Turn(call)
        return heapq.heappop(self._again).turn if is_due else None

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._flying.discard(task)
        error = None if task.cancelled() else task.exception()
        self._error = self._error or error
        self._wake.set()

    async def _slot(self, turn: _Turn) -> None:
        """Send calls, one after the other. An answer and the row of the call that follows it are written in
        one commit, so that what flies or is not yet on the disk is never more than the slots."""
        await self._log.write(None, turn.call)
        while True:
            outcome, seconds = await self._attempt(turn.call)
            outcome = self._given_up(outcome, turn)
            self._note(outcome, turn)
            has_room = len(self._flying) <= int(self._throttle.limit)
            following = self._next() if has_room else None
            await self._log.write(
                Answered(turn.call, outcome, seconds), following.call if following else None
            )
            if following is None:
                return
            turn = following

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

    def _given_up(self, outcome: Outcome, turn: _Turn) -> Outcome:
        """Make a call that failed too often a failed one; being too fast is not its fault.

        Nor is it when no other call was answered meanwhile and nothing can be billed: then the teacher is
        away, and it is for the patience to end it.
        """
        if outcome.kind != "later" or _is_free(outcome) or turn.tries + 1 < self._limits.attempts:
            return outcome
        is_away = turn.failing_since is not None and self._answered_at < turn.failing_since
        if is_away and not outcome.may_be_billed:
            return outcome
        told = f"gave up after {turn.tries + 1} attempts: {outcome.message}"
        return Outcome("failed", f"gave_up_{outcome.reason}", told, may_be_billed=outcome.may_be_billed)

    def _note(self, outcome: Outcome, turn: _Turn) -> None:
        now = time.monotonic()
        if outcome.kind == "stop":
            self._pause_with(outcome.reason, outcome.message)
        elif outcome.kind == "later":
            self._try_again(outcome, turn, now)
        else:
            self._final += 1
            self._judge_teacher(outcome, now)
            self._show("asking the teacher", self._final, self._total)

    def _try_again(self, outcome: Outcome, turn: _Turn, now: float) -> None:
        tries = turn.tries if _is_free(outcome) else turn.tries + 1
        wait = self._throttle.backoff(tries)
        # A shorter wait is none: "Retry-After: 0", or a date that is over, would have us ask as fast as the
        # network is, and count as asked for, so that the patience never ended.
        asked = None if outcome.wait is None or outcome.wait < wait else outcome.wait
        self._excuse(asked, now)
        if outcome.is_limit:
            self._throttle.too_fast(now, asked)
        else:
            self._throttle.broken(now, asked)
        wait = wait if asked is None else asked
        since = now if turn.failing_since is None else turn.failing_since
        again = _Turn(turn.call, tries, since, turn.refused_at, turn.outrun)
        if outcome.is_limit:
            again, wait = self._refused(again, wait, now)
        heapq.heappush(self._again, _Again(now + wait, next(self._number), again))
        self._is_met = self._is_met or outcome.reason != UNREACHABLE
        self._lose_patience(outcome, now)

    def _refused(self, turn: _Turn, wait: float, now: float) -> tuple[_Turn, float]:
        """Make a call that is refused while others are answered wait longer each time, up to a minute.

        Some are refused for good, such as a prompt above the tokens that an account may send in a minute
        (OpenAI answers 429 then). Each time all wait as it is told: two such calls held up all others.
        """
        self._refusals += 1
        self._others_first = turn.refused_at > 0
        outrun = turn.outrun + (0 < turn.refused_at < self._answered_at)
        longer = max(wait, self._throttle.backoff(outrun)) if outrun else wait
        return replace(turn, refused_at=now, outrun=outrun), longer

    def _excuse(self, asked: float | None, now: float) -> None:
        """Count the waiting that is asked for, which is no silence; a second, asked for ever again, is."""
        least = min(LONGEST, self._limits.first_wait * 2.0 ** min(self._refusals, 10))
        if asked is not None and asked >= least:
            self._asked_for += max(0.0, now + asked - max(now, self._throttle.asked_until))

    def _lose_patience(self, outcome: Outcome, now: float) -> None:
        quiet = now - self._answered_at - self._asked_for
        if quiet > self._limits.patience:
            self._pause_with("no_answer", f"The teacher did not answer for {quiet:,.0f} s: {outcome.message}")
        elif not self._is_met and quiet > self._limits.first_patience:
            told = f"Nobody answers at the teacher's address ({outcome.message}). Look at it, or start it"
            self._pause_with("no_answer", told)

    def _judge_teacher(self, outcome: Outcome, now: float) -> None:
        """Note an answer; a place that never gave a usable one is left alone."""
        self._answered_at, self._is_met, self._refusals = now, True, 0
        self._asked_for = max(0.0, self._throttle.asked_until - now)
        if outcome.kind == "done":
            self._good += 1
            self._throttle.well()
            self._wake.set()  # there may be room for another slot now
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
        if (left := self._throttle.open_at - now) > 2:
            why = "as the teacher asked" if self._throttle.asked_until > now else "nothing works at present"
            self._show(f"waiting {left:,.0f} s, {why}", self._final, self._total)
        elif self._refusals and now - self._answered_at > QUIET:
            self._show("the teacher says it is asked too fast", self._final, self._total)
        opens = self._throttle.open_at
        times = [opens] if opens > now else []
        # What is due when the run is closed, or no slot is free, waits for that; the end of a call wakes us.
        if self._again and self._held is None and len(self._flying) < int(self._throttle.limit):
            times.append(max(opens, self._again[0].at))
        wait = min([LOOK * 4, *(max(0.005, at - now) for at in times)])
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), wait)
        self._wake.clear()

    async def _drain(self) -> None:
        """Let what flies end, so that nothing paid for is lost; then give the rest up."""
        drain = self._limits.drain
        until = time.monotonic() + (drain if self.asked.is_stopped else self._limits.deadline + drain)
        while self._flying and time.monotonic() < until and self._error is None:
            await asyncio.wait(list(self._flying), timeout=LOOK)
        for task in list(self._flying):
            task.cancel()
        if self._flying:
            await asyncio.wait(list(self._flying), timeout=drain)


def _is_free(outcome: Outcome) -> bool:
    """Whether an attempt says nothing about its call."""
    return outcome.is_limit or outcome.reason == UNREACHABLE
