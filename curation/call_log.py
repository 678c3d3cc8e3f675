"""Writes calls down: a thread of its own commits whatever came together as one group, so that SQLite keeps
up with hundreds of calls a second and each call still has its row before it is sent.

A slot waits until its answer is on the disk, and for nothing else. What is made of answers follows in larger
groups: it can be made again of the answers at any time, at no cost, and takes longer than writing them down.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curation.call_outcome import Outcome
from curation.store import calls
from curation.store.calls import AnsweredCall, SentCall
from curation.store.database import Connection, Database
from curation.teacher import Call

GROUP = 256  # entries of one transaction at most
KEPT_TOGETHER = 32  # answers of which something is made in one transaction
IDLE = 0.25  # seconds without an entry after which fewer will do

Answer = tuple[Call, Outcome]
Keep = Callable[[Connection, Sequence[Answer]], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an attempt."""

    call: Call
    outcome: Outcome
    seconds: float | None  # None: it came in a batch

    @property
    def is_final(self) -> bool:
        return self.outcome.kind in ("done", "failed")


@dataclass(slots=True)
class _Entry:
    answered: Answered | None
    sent: Call | None  # it is about to be sent
    kept: "asyncio.Future[None]"
    settles: bool = False  # everything that came before is to be kept first

    @property
    def ids(self) -> set[str]:
        found = {self.answered.call.id} if self.answered else set()
        return found | ({self.sent.id} if self.sent else set())


class CallLog:
    """Use it in one event loop, `with`. Awaiting an entry ends when it is on the disk."""

    def __init__(self, db: Database, generation_id: str, keep: Keep) -> None:
        """`keep` makes what comes of final answers, in a transaction. It is called within a second, for
        failed calls in the transaction that writes them down; after a kill it is for the next run to do."""
        self._db = db
        self._generation_id = generation_id
        self._keep = keep
        self._entries: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._made: list[Answer] = []  # on the disk; nothing is made of them yet
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._write, name="call-log", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> "CallLog":
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._entries.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    async def write(self, answered: Answered | None, sent: Call | None) -> None:
        """Put on record what came of an attempt, and that a call is about to be sent; both at once.

        Raises what the store raises, e.g. SourceUnavailable on a full disk.
        """
        await self._put_in(answered, sent)

    async def settle(self) -> None:
        """Wait until something was made of every answer so far. Raises what the store raises."""
        await self._put_in(None, None, settles=True)

    async def _put_in(self, answered: Answered | None, sent: Call | None, settles: bool = False) -> None:
        assert self._loop is not None
        entry = _Entry(answered, sent, self._loop.create_future(), settles)
        self._entries.put(entry)
        await entry.kept

    def _write(self) -> None:
        while True:
            group, is_last = self._group()
            if group:
                self._commit(group)
            if is_last or not group or len(self._made) >= KEPT_TOGETHER:
                self._make()
            if is_last:
                return

    def _group(self) -> tuple[list[_Entry], bool]:
        """Wait for an entry, not for long while something is to be made; take it with all that came."""
        found: list[_Entry] = []
        try:
            entry = self._entries.get(timeout=IDLE if self._made else None)
            while entry is not None:
                found.append(entry)
                if len(found) == GROUP:
                    return found, False
                entry = self._entries.get_nowait()
        except queue.Empty:
            return found, False
        return found, True

    def _commit(self, group: Sequence[_Entry]) -> None:
        if any(one.settles for one in group):
            self._make()
        error = self._error
        if error is None:
            try:
                with self._db.transaction() as connection:
                    made = [one for part in _without_repeats(group) for one in self._put(connection, part)]
                self._made += made
            except Exception as problem:  # the loop must hear of it, or it would wait for ever
                error = problem
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_tell, [e.kept for e in group], error)

    def _put(self, connection: Connection, part: Sequence[_Entry]) -> list[Answer]:
        """Write a part down. Gives the answers of which something is still to be made."""
        answers = [e.answered for e in part if e.answered is not None]
        calls.write_answered(connection, [_answered(one) for one in answers])
        final = [(one.call, one.outcome) for one in answers if one.is_final]
        # At once: the next run would ask a failed call again, which it does not if its item says so.
        if failed := [one for one in final if one[1].kind == "failed"]:
            self._keep(connection, failed)
        put_sent(connection, self._generation_id, [e.sent for e in part if e.sent is not None])
        return [one for one in final if one[1].kind != "failed"]

    def _make(self) -> None:
        """Make what comes of answers. After an error they wait for the next run, as after a kill."""
        if not self._made or self._error is not None:
            return
        try:
            with self._db.transaction() as connection:
                self._keep(connection, self._made)
            self._made = []
        except Exception as problem:
            self._error = problem


def _without_repeats(group: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Split a group so that no call stands twice in a part: what happened to it first is written first."""
    part: list[_Entry] = []
    seen: set[str] = set()
    for entry in group:
        if seen & entry.ids:
            yield part
            part, seen = [], set()
        part.append(entry)
        seen |= entry.ids
    yield part


def _tell(futures: Sequence["asyncio.Future[None]"], error: BaseException | None) -> None:
    for one in futures:
        if one.done():  # the call was given up meanwhile
            continue
        if error is None:
            one.set_result(None)
        else:
            one.set_exception(error)


def put_answers(connection: Connection, answers: Sequence[Answered], keep: Keep) -> None:
    """Write answers down, and what comes of the final ones."""
    calls.write_answered(connection, [_answered(one) for one in answers])
    final = [(one.call, one.outcome) for one in answers if one.is_final]
    if final:
        keep(connection, final)


def put_sent(connection: Connection, generation_id: str, sent: Sequence[Call]) -> None:
    """Write down that calls are about to be sent."""
    calls.write_sent(connection, generation_id, [_sent(one) for one in sent])


def _sent(call: Call) -> SentCall:
    return SentCall(
        call.id, call.draw, call.model, call.endpoint, call.prompt_hash, call.request,
        call.worst_in, call.worst_out,
    )  # fmt: skip


def _answered(one: Answered) -> AnsweredCall:
    outcome = one.outcome
    if outcome.completion is None:
        return AnsweredCall(
            one.call.id, calls.FAILED if outcome.kind == "failed" else calls.LOST, outcome.body,
            outcome.reason, outcome.message, None, *(outcome.billed or (0, 0)), is_lost=outcome.may_be_billed,
        )  # fmt: skip
    return AnsweredCall(
        one.call.id, calls.DONE, outcome.body, None, None, outcome.completion.finish_reason,
        *used_by(one.call, outcome), tokens_cached=outcome.completion.tokens_cached,
        is_guessed=_is_guessed(outcome), seconds=one.seconds,
    )  # fmt: skip


def used_by(call: Call, outcome: Outcome) -> tuple[int, int]:
    """Give the tokens in and out that an attempt used; where the reply names none, a bound of them."""
    if outcome.billed is not None:
        return outcome.billed
    if outcome.completion is None:
        return (call.worst_in, call.worst_out) if outcome.may_be_billed else (0, 0)
    said = outcome.completion
    bound = len(said.content.encode("utf-8", "surrogatepass"))
    tokens_in = call.worst_in if said.tokens_in is None else said.tokens_in
    return tokens_in, min(bound, call.worst_out or bound) if said.tokens_out is None else said.tokens_out


def _is_guessed(outcome: Outcome) -> bool:
    said: Any = outcome.completion
    return said.tokens_in is None or said.tokens_out is None
